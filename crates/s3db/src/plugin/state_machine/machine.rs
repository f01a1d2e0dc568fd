//! A machine that is ready to run: names resolved, expressions compiled once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use s3db_format::error::did_you_mean;
use s3db_format::keys;

use super::action::{ActionKind, compile_action};
use super::definition::{
    ANY, ActionRef, Guard, GuardRef, MOST_STATES, MachineDefinition, NAME_BYTES, Problem, State, Target,
};
use super::definition::{Problems, RESERVED, is_reserved};
use super::facts::VARIABLES;
use crate::plugin::expression::Expression;
use crate::query::duration;

/// The longest timer: a hundred years.
const LONGEST_MS: u128 = 100 * 366 * 86_400_000;

/// A machine that is ready to run.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) definition: MachineDefinition,
    pub(super) hash: String,
    pub(super) states: Vec<CompiledState>,
    /// Functions that the machine names and that this process has not registered.
    pub(super) missing: Vec<String>,
    by_name: HashMap<String, usize>,
    authorize: BTreeMap<String, Check>,
    effects: BTreeMap<String, Arc<Effect>>,
}

#[derive(Debug, Default)]
pub(super) struct CompiledState {
    pub(super) is_final: bool,
    on: HashMap<String, Vec<Candidate>>,
    pub(super) timers: Vec<Timer>,
    pub(super) entry: Vec<Arc<Effect>>,
    pub(super) exit: Vec<Arc<Effect>>,
}

/// A target whose guards are to be asked.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) target: usize,
    pub(super) checks: Vec<Check>,
    pub(super) actions: Vec<Arc<Effect>>,
}

#[derive(Debug)]
pub(super) struct Timer {
    /// As it was written: `30m`.
    pub(super) after: String,
    pub(super) delay: Duration,
    pub(super) candidates: Vec<Candidate>,
}

/// A guard.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) kind: CheckKind,
}

#[derive(Debug, Clone)]
pub(super) enum CheckKind {
    /// A function that a process registers.
    Function,
    /// An expression.
    Expression(Arc<CompiledGuard>),
}

#[derive(Debug)]
pub(super) struct CompiledGuard {
    pub(super) test: Expression,
    /// Variable, resource, and the expression of the record's id.
    pub(super) with: Vec<(String, String, Expression)>,
}

/// An action, under the name that tells it from the machine's others.
#[derive(Debug)]
pub(super) struct Effect {
    pub(super) name: String,
    pub(super) kind: ActionKind,
}

/// Functions that are registered here.
pub(super) trait Registered {
    fn has_guard(&self, name: &str) -> bool;
    fn has_action(&self, name: &str) -> bool;
    fn may_exec(&self) -> bool;
}

impl Machine {
    /// Compiles a definition. Problems are all that make it unusable; warnings are what is strange.
    pub(super) fn compile(
        definition: MachineDefinition,
        registered: &dyn Registered,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let by_name: HashMap<String, usize> =
            definition.states.iter().enumerate().map(|(at, s)| (s.name.clone(), at)).collect();
        let mut compiler = Compiler::new(&definition, &by_name, registered);
        compiler.check_names();
        let states: Vec<CompiledState> = definition.states.iter().map(|state| compiler.state(state)).collect();
        let authorize = compiler.authorize();
        compiler.check_circles(&states);
        let Compiler { problems, missing, effects, .. } = compiler;
        if !problems.0.is_empty() {
            // All at once: what is not registered, too.
            let missing = missing.iter().map(|missing| not_registered(&definition.name, missing));
            return Err(problems.0.into_iter().chain(missing).collect());
        }
        let warnings = warnings(&definition, &states, &by_name);
        let machine = Self {
            hash: definition.hash(),
            states,
            missing: missing.into_iter().collect(),
            authorize,
            effects,
            by_name,
            definition,
        };
        Ok((machine, warnings))
    }

    pub(super) fn name(&self) -> &str {
        &self.definition.name
    }

    /// The number of a state.
    pub(super) fn state(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(super) fn state_name(&self, state: usize) -> &str {
        self.definition.states.get(state).map_or("", |s| s.name.as_str())
    }

    pub(super) fn is_final(&self, state: usize) -> bool {
        self.states.get(state).is_some_and(|s| s.is_final)
    }

    pub(super) fn initial(&self) -> usize {
        self.state(&self.definition.initial_state).unwrap_or_default()
    }

    /// The targets of an event in a state; an event of its own goes before `*`.
    pub(super) fn candidates(&self, state: usize, event: &str) -> Option<&[Candidate]> {
        let on = &self.states.get(state)?.on;
        on.get(event).or_else(|| on.get(ANY)).map(Vec::as_slice)
    }

    pub(super) fn timer(&self, state: usize, after: &str) -> Option<&Timer> {
        self.states.get(state)?.timers.iter().find(|t| t.after == after)
    }

    /// The events that a state names, in order; `*` where it takes any.
    pub(super) fn events(&self, state: usize) -> Vec<String> {
        let events: BTreeSet<&String> = self.states.get(state).into_iter().flat_map(|s| s.on.keys()).collect();
        events.into_iter().cloned().collect()
    }

    /// The rule of who may send an event.
    pub(super) fn authorize(&self, event: &str) -> Option<&Check> {
        self.authorize.get(event).or_else(|| self.authorize.get(ANY))
    }

    pub(super) fn effect(&self, name: &str) -> Option<&Arc<Effect>> {
        self.effects.get(name)
    }
}

struct Compiler<'a> {
    definition: &'a MachineDefinition,
    by_name: &'a HashMap<String, usize>,
    registered: &'a dyn Registered,
    problems: Problems,
    missing: BTreeSet<String>,
    guards: HashMap<String, Arc<CompiledGuard>>,
    effects: BTreeMap<String, Arc<Effect>>,
}

impl<'a> Compiler<'a> {
    fn new(
        definition: &'a MachineDefinition,
        by_name: &'a HashMap<String, usize>,
        registered: &'a dyn Registered,
    ) -> Self {
        Self {
            definition,
            by_name,
            registered,
            problems: Problems::default(),
            missing: BTreeSet::new(),
            guards: HashMap::new(),
            effects: BTreeMap::new(),
        }
    }

    fn check_names(&mut self) {
        let machine = self.definition;
        let name = &machine.name;
        if let Err(error) = keys::check_name("machine", name) {
            self.problems.add(name, error.to_string());
        }
        if machine.states.is_empty() {
            self.problems.add(&format!("{name}.states"), "needs at least one state");
        }
        if machine.initial_state.is_empty() {
            self.problems.add(&format!("{name}.initialState"), "is missing: the state of a new entity");
        }
        if machine.states.len() > MOST_STATES {
            let found = machine.states.len();
            self.problems
                .add(&format!("{name}.states"), format!("has {found} states, at most {MOST_STATES} are allowed"));
        }
        // One that is missing was told when it was read.
        if !machine.states.is_empty() && !machine.initial_state.is_empty() {
            self.target(&machine.initial_state, &format!("{name}.initialState"));
        }
        let mut seen = BTreeSet::new();
        for state in &machine.states {
            self.check_text("state", &state.name, &format!("{name}.states.{}", state.name));
            if !seen.insert(&state.name) {
                self.problems.add(&format!("{name}.states.{}", state.name), "is there twice");
            }
        }
    }

    fn check_text(&mut self, what: &str, text: &str, path: &str) {
        if text.is_empty() || text.len() > NAME_BYTES {
            self.problems
                .add(path, format!("the name of a {what} must have 1 to {NAME_BYTES} bytes, this has {}", text.len()));
        }
    }

    fn target(&mut self, state: &str, path: &str) -> Option<usize> {
        let found = self.by_name.get(state).copied();
        if found.is_none() {
            let names = self.definition.states.iter().map(|s| s.name.as_str());
            let hint = did_you_mean(state, names).map(|h| format!("; {h}")).unwrap_or_default();
            self.problems.add(path, format!("there is no state '{state}'{hint}"));
        }
        found
    }

    fn state(&mut self, state: &State) -> CompiledState {
        let path = format!("{}.states.{}", self.definition.name, state.name);
        if state.is_final && !(state.on.is_empty() && state.after.is_empty()) {
            self.problems.add(&path, "is final, so that it can have neither 'on' nor 'after'");
        }
        let mut compiled = CompiledState { is_final: state.is_final, ..CompiledState::default() };
        for (event, targets) in &state.on {
            let at = format!("{path}.on.{event}");
            self.check_text("event", event, &at);
            if is_reserved(event) {
                self.problems.add(&at, RESERVED);
            }
            let shared = state.guards.iter().filter(|(e, _)| e == event).flat_map(|(_, guards)| guards);
            let shared: Vec<&GuardRef> = shared.collect();
            compiled.on.insert(event.clone(), self.candidates(targets, &shared, &at));
        }
        for (event, guards) in &state.guards {
            if !state.on.iter().any(|(e, _)| e == event) {
                let events = state.on.iter().map(|(e, _)| e.as_str());
                let hint = did_you_mean(event, events).map(|h| format!("; {h}")).unwrap_or_default();
                let at = format!("{path}.guards.{event}");
                self.problems.add(&at, format!("guards an event that is not in 'on'{hint}"));
                // Their own problems are told, too.
                for guard in guards {
                    self.check(guard, &at);
                }
            }
        }
        for (after, targets) in &state.after {
            let at = format!("{path}.after.{after}");
            let candidates = self.candidates(targets, &[], &at);
            match timer_delay(after) {
                Some(delay) => compiled.timers.push(Timer { after: after.clone(), delay, candidates }),
                None => self
                    .problems
                    .add(&at, "is no duration, such as 30m, 1h30m, 500ms or 7d, of at most a hundred years"),
            }
        }
        compiled.entry = self.effects_of(&state.entry, &format!("{path}.entry"));
        compiled.exit = self.effects_of(&state.exit, &format!("{path}.exit"));
        compiled
    }

    fn candidates(&mut self, targets: &[Target], shared: &[&GuardRef], path: &str) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (at, target) in targets.iter().enumerate() {
            let path = if targets.len() == 1 { path.to_owned() } else { format!("{path}[{at}]") };
            let state = self.target(&target.target, &path);
            let guards: Vec<&GuardRef> = shared.iter().copied().chain(&target.guards).collect();
            let checks = guards.into_iter().filter_map(|guard| self.check(guard, &path)).collect();
            let actions = self.effects_of(&target.actions, &format!("{path}.actions"));
            if let Some(target) = state {
                candidates.push(Candidate { target, checks, actions });
            }
        }
        candidates
    }

    fn authorize(&mut self) -> BTreeMap<String, Check> {
        let mut rules = BTreeMap::new();
        for (event, rule) in &self.definition.authorize {
            let path = format!("{}.authorize.{event}", self.definition.name);
            let known = self.definition.states.iter().flat_map(|s| &s.on).any(|(e, _)| e == event || e == ANY);
            if event != ANY && !known {
                self.problems.add(&path, "no state takes this event");
            }
            if let Some(check) = self.check(rule, &path) {
                rules.insert(event.clone(), check);
            }
        }
        rules
    }

    fn check(&mut self, guard: &GuardRef, path: &str) -> Option<Check> {
        let definition = self.definition;
        let (name, guard) = match guard {
            GuardRef::Inline(guard) => (guard.cel.clone(), Some(guard)),
            GuardRef::Named(name) => (name.clone(), definition.guards.get(name)),
        };
        let Some(guard) = guard else {
            if !self.registered.has_guard(&name) {
                self.missing.insert(format!("guard '{name}'"));
            }
            return Some(Check { name, kind: CheckKind::Function });
        };
        // Two guards in place may have one expression and look different records up.
        let known = guard.to_json().to_string();
        if let Some(compiled) = self.guards.get(&known) {
            return Some(Check { name, kind: CheckKind::Expression(Arc::clone(compiled)) });
        }
        let compiled = Arc::new(self.guard(guard, path)?);
        self.guards.insert(known, Arc::clone(&compiled));
        Some(Check { name, kind: CheckKind::Expression(compiled) })
    }

    fn guard(&mut self, guard: &Guard, path: &str) -> Option<CompiledGuard> {
        let mut variables: Vec<&str> = VARIABLES.to_vec();
        let mut with = Vec::new();
        for (variable, lookup) in &guard.with {
            if VARIABLES.contains(&variable.as_str()) {
                self.problems
                    .add(&format!("{path}.with.{variable}"), "is the name of a variable that is there already");
            }
            match Expression::compile(&lookup.id, VARIABLES) {
                Ok(id) => with.push((variable.clone(), lookup.resource.clone(), id)),
                Err(why) => self.problems.add(&format!("{path}.with.{variable}.id"), why),
            }
            variables.push(variable);
        }
        match Expression::compile(&guard.cel, &variables) {
            Ok(test) => Some(CompiledGuard { test, with }),
            Err(why) => {
                self.problems.add(&format!("{path}.cel"), why);
                None
            }
        }
    }

    fn effects_of(&mut self, actions: &[ActionRef], path: &str) -> Vec<Arc<Effect>> {
        let mut effects = Vec::new();
        for (at, action) in actions.iter().enumerate() {
            let path = if actions.len() == 1 { path.to_owned() } else { format!("{path}[{at}]") };
            effects.extend(self.effect(action, &path));
        }
        effects
    }

    fn effect(&mut self, action: &ActionRef, path: &str) -> Option<Arc<Effect>> {
        let definition = self.definition;
        // An action in place is named by its place, without the machine's own name.
        let (name, action) = match action {
            ActionRef::Named(name) => (name.clone(), definition.actions.get(name)),
            ActionRef::Inline(action) => {
                let place = path.strip_prefix(&format!("{}.states.", definition.name)).unwrap_or(path);
                (place.to_owned(), Some(action))
            }
        };
        if let Some(known) = self.effects.get(&name) {
            return Some(Arc::clone(known));
        }
        let kind = match action {
            Some(action) => compile_action(action, path, &mut self.problems)?,
            None => {
                if !self.registered.has_action(&name) {
                    self.missing.insert(format!("action '{name}'"));
                }
                ActionKind::Function
            }
        };
        if matches!(kind, ActionKind::Exec(_)) && !self.registered.may_exec() {
            self.missing.insert(format!("leave to run the program of action '{name}'"));
        }
        let effect = Arc::new(Effect { name: name.clone(), kind });
        self.effects.insert(name, Arc::clone(&effect));
        Some(effect)
    }

    /// Timers of no time that lead in a circle would never come to rest.
    fn check_circles(&mut self, states: &[CompiledState]) {
        let at_once = |state: usize| {
            let timers = states.get(state).into_iter().flat_map(|s| &s.timers).filter(|t| t.delay.is_zero());
            timers.flat_map(|t| t.candidates.iter().map(|c| c.target)).collect::<Vec<usize>>()
        };
        // Depth first, without recursion: 1 is on the path, 2 is done.
        let mut marks = vec![0u8; states.len()];
        for start in 0..states.len() {
            let mut path = vec![(start, at_once(start))];
            if marks.get(start) == Some(&2) {
                continue;
            }
            while let Some((state, targets)) = path.last_mut() {
                if let Some(mark) = marks.get_mut(*state) {
                    *mark = 1;
                }
                match targets.pop() {
                    Some(next) if marks.get(next) == Some(&1) => {
                        let name = self.definition.states.get(next).map_or("", |s| s.name.as_str());
                        let at = format!("{}.states.{name}.after", self.definition.name);
                        self.problems.add(&at, "timers of no time lead in a circle, which would never come to rest");
                        return;
                    }
                    Some(next) if marks.get(next) == Some(&0) => path.push((next, at_once(next))),
                    Some(_) => {}
                    None => {
                        if let Some(mark) = marks.get_mut(*state) {
                            *mark = 2;
                        }
                        path.pop();
                    }
                }
            }
        }
    }
}

/// The problem of a function that a process does not have.
pub(super) fn not_registered(machine: &str, missing: &str) -> Problem {
    let message = match missing.starts_with("leave ") {
        true => format!("{missing} is missing: set allowExec = true in s3db.toml, or allow_exec in the builder"),
        false => format!("{missing} is not registered"),
    };
    Problem { path: machine.to_owned(), message }
}

/// Takes every function for registered: for looking at a definition alone.
struct Anything;

impl Registered for Anything {
    fn has_guard(&self, _: &str) -> bool {
        true
    }

    fn has_action(&self, _: &str) -> bool {
        true
    }

    fn may_exec(&self) -> bool {
        true
    }
}

/// What is wrong with a definition, whoever runs it.
pub(super) fn problems_of(definition: &MachineDefinition) -> Vec<Problem> {
    Machine::compile(definition.clone(), &Anything).err().unwrap_or_default()
}

/// A whole number is milliseconds, else `30m`.
fn timer_delay(text: &str) -> Option<Duration> {
    let delay = duration::parse_duration(text)?;
    (delay.as_millis() <= LONGEST_MS).then_some(delay)
}

/// What is strange about a machine that works.
fn warnings(
    definition: &MachineDefinition,
    states: &[CompiledState],
    by_name: &HashMap<String, usize>,
) -> Vec<Problem> {
    let mut problems = Problems::default();
    let mut reached = vec![false; states.len()];
    let mut next: Vec<usize> = by_name.get(&definition.initial_state).copied().into_iter().collect();
    while let Some(state) = next.pop() {
        match reached.get_mut(state) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        let Some(state) = states.get(state) else { continue };
        let candidates = state.on.values().flatten().chain(state.timers.iter().flat_map(|t| &t.candidates));
        next.extend(candidates.map(|c| c.target));
    }
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for ((state, compiled), reached) in definition.states.iter().zip(states).zip(reached) {
        let path = format!("{}.states.{}", definition.name, state.name);
        if !reached {
            problems.add(&path, "cannot be reached from the initial state");
        }
        if !compiled.is_final && compiled.on.is_empty() && compiled.timers.is_empty() {
            problems.add(&path, "is a dead end: it has no transition and is not final");
        }
        if let Some(other) = folded.insert(state.name.to_lowercase(), &state.name) {
            problems.add(&path, format!("differs from '{other}' only in upper and lower case"));
        }
    }
    problems.0
}
