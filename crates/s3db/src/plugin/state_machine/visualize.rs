//! `visualize`: a machine as a picture.

use std::str::FromStr;

use super::definition::{ActionRef, GuardRef, MachineDefinition};
use super::ids::Names;
use super::machine::Machine;
use super::picture::{Edge, Node, Picture};
use super::{Core, StateMachinePlugin};
use crate::error::{Error, ErrorKind, Result};

/// How a picture is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PictureFormat {
    /// The language of Graphviz.
    #[default]
    Dot,
    /// The language of Mermaid, which web pages and Markdown draw.
    Mermaid,
    /// A drawing that every browser shows.
    Svg,
}

impl FromStr for PictureFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "dot" => Ok(Self::Dot),
            "mermaid" => Ok(Self::Mermaid),
            "svg" => Ok(Self::Svg),
            other => Err(Error::new(ErrorKind::Invalid, format!("there is no picture format '{other}'"))
                .guide("formats: dot, mermaid, svg")),
        }
    }
}

/// What is drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VisualizeOptions {
    /// How.
    pub format: PictureFormat,
    /// An entity whose state is highlighted, on the definition that it runs on.
    pub entity: Option<String>,
    /// A version of the definition, by number or hash; `None` is the current one, or the entity's.
    pub version: Option<String>,
}

impl StateMachinePlugin {
    /// Draws a machine: states, events, guards, actions, timers, finals, and an entity's state. Costs what
    /// reading the definition and the entity costs.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn visualize(&self, machine: &str, options: &VisualizeOptions) -> Result<String> {
        self.core.visualize(machine, options).await
    }
}

impl Core {
    async fn visualize(&self, name: &str, options: &VisualizeOptions) -> Result<String> {
        let seen = match &options.entity {
            None => None,
            Some(entity) => Some(self.load_known(&Names::new(name, entity)?).await?.entity),
        };
        let machine = match (&options.version, &seen) {
            (Some(version), _) => self.machine(name, &self.hash_of(name, Some(version)).await?).await?,
            (None, Some(entity)) => self.machine_of(entity).await?,
            (None, None) => self.current(name).await?,
        };
        let picture = picture_of(&machine, seen.as_ref().map(|entity| entity.state.as_str()));
        Ok(match options.format {
            PictureFormat::Dot => picture.to_dot(),
            PictureFormat::Mermaid => picture.to_mermaid(),
            PictureFormat::Svg => picture.to_svg(),
        })
    }
}

fn picture_of(machine: &Machine, current: Option<&str>) -> Picture {
    let definition = &machine.definition;
    let states = definition.states.iter().map(|state| Node {
        name: state.name.clone(),
        initial: state.name == definition.initial_state,
        is_final: state.is_final,
        current: current == Some(state.name.as_str()),
        color: state.meta.get("color").and_then(|color| color.as_str()).map(str::to_owned),
        entry: action_names(&state.entry),
        exit: action_names(&state.exit),
    });
    Picture { name: definition.name.clone(), states: states.collect(), edges: edges(machine, definition) }
}

fn edges(machine: &Machine, definition: &MachineDefinition) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (from, state) in definition.states.iter().enumerate() {
        let events = state.on.iter().map(|(event, targets)| (event, targets, false));
        let timers = state.after.iter().map(|(after, targets)| (after, targets, true));
        for (event, targets, timer) in events.chain(timers) {
            let shared = state.guards.iter().filter(|(guarded, _)| !timer && guarded == event);
            let shared: Vec<String> = shared.flat_map(|(_, guards)| guard_names(guards)).collect();
            for target in targets {
                let Some(to) = machine.state(&target.target) else { continue };
                let guards = shared.iter().cloned().chain(guard_names(&target.guards)).collect();
                let actions = action_names(&target.actions);
                edges.push(Edge { from, to, event: event.clone(), timer, guards, actions });
            }
        }
    }
    edges
}

fn guard_names(guards: &[GuardRef]) -> Vec<String> {
    let name = |guard: &GuardRef| match guard {
        GuardRef::Named(name) => name.clone(),
        GuardRef::Inline(guard) => guard.cel.clone(),
    };
    guards.iter().map(name).collect()
}

fn action_names(actions: &[ActionRef]) -> Vec<String> {
    let name = |action: &ActionRef| match action {
        ActionRef::Named(name) => name.clone(),
        ActionRef::Inline(action) => action.kind().to_owned(),
    };
    actions.iter().map(name).collect()
}
