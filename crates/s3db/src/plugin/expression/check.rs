//! What a parsed expression may say, checked before it is ever run.

use std::collections::BTreeMap;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};

use super::{MAX_DEPTH, MAX_LOOPS, explain, time};

/// The names that stand for types, as in `type(x) == int`.
const TYPES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// How a function may be called.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// As `f(x)`.
    Global,
    /// As `x.f()`.
    Member,
    /// Both ways.
    Either,
}

/// The functions and how they are called.
const FUNCTIONS: [(&str, Style); 25] = [
    ("bool", Style::Global),
    ("bytes", Style::Global),
    ("contains", Style::Member),
    ("double", Style::Global),
    ("duration", Style::Global),
    ("dyn", Style::Global),
    ("endsWith", Style::Member),
    ("getDate", Style::Member),
    ("getDayOfMonth", Style::Member),
    ("getDayOfWeek", Style::Member),
    ("getDayOfYear", Style::Member),
    ("getFullYear", Style::Member),
    ("getHours", Style::Member),
    ("getMilliseconds", Style::Member),
    ("getMinutes", Style::Member),
    ("getMonth", Style::Member),
    ("getSeconds", Style::Member),
    ("int", Style::Global),
    ("matches", Style::Either),
    ("size", Style::Either),
    ("startsWith", Style::Member),
    ("string", Style::Global),
    ("timestamp", Style::Global),
    ("type", Style::Global),
    ("uint", Style::Global),
];

/// The macros that loop, for the text about a wrong use.
const LOOPS: [&str; 5] = ["all", "exists", "exists_one", "filter", "map"];

/// The operators, which are calls in the tree.
const OPERATORS: [&str; 19] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
    operators::NOT_STRICTLY_FALSE,
];

/// How much of a variable an expression reads.
#[derive(Debug, PartialEq)]
pub(crate) enum Need {
    /// All of it.
    Whole,
    /// Only these fields.
    Fields(BTreeMap<String, Need>),
}

impl Need {
    /// Adds the field at `path`.
    fn add(&mut self, path: &[&str]) {
        match (self, path.split_first()) {
            (Need::Whole, _) => {}
            (need, None) => *need = Need::Whole,
            (Need::Fields(fields), Some((first, rest))) => {
                fields.entry((*first).to_owned()).or_insert_with(|| Need::Fields(BTreeMap::new())).add(rest);
            }
        }
    }
}

/// What a checked expression reads.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The variables, and how much of each.
    pub(crate) needs: BTreeMap<String, Need>,
    /// The fields selected, each as its path from a variable or from the name of a loop.
    pub(crate) paths: Vec<Vec<String>>,
}

/// Checks every node of `tree`.
pub(crate) fn check(tree: &IdedExpr, variables: &[&str]) -> Result<Findings, String> {
    let mut walk = Walk { variables, locals: Vec::new(), loops: 0, findings: Findings::default() };
    walk.visit(tree, MAX_DEPTH)?;
    Ok(walk.findings)
}

/// The state of one walk.
struct Walk<'t> {
    /// The names allowed at top level.
    variables: &'t [&'t str],
    /// The names bound by the loops around the node.
    locals: Vec<&'t str>,
    /// How many loops are around the node.
    loops: usize,
    /// What was found so far.
    findings: Findings,
}

impl<'t> Walk<'t> {
    /// Checks a node with `depth` levels left below it.
    fn visit(&mut self, node: &'t IdedExpr, depth: usize) -> Result<(), String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!("the expression is more than {MAX_DEPTH} operators deep; split it, or use a list"));
        };
        match &node.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name, &[]),
            Expr::Select(select) => self.select(select, depth),
            Expr::Call(call) => self.call(call, depth),
            Expr::Comprehension(each) => self.comprehension(each, depth),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.visit(element, depth)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key, depth)?;
                    self.visit(&entry.value, depth)
                }
                EntryExpr::StructField(field) => Err(format!("the field '{}' is not in a map", field.field)),
            }),
            Expr::Struct(message) => Err(format!(
                "message literals such as {}{{…}} are not supported; write a map as {{'key': value}}",
                explain::clipped(&message.type_name)
            )),
            Expr::Unspecified => Err("the expression cannot be parsed; write it in simpler parts".to_owned()),
        }
    }

    /// Checks a name, of which the fields at `path` are read.
    fn name(&mut self, name: &'t str, path: &[&str]) -> Result<(), String> {
        // The accumulator of a loop.
        if name.starts_with('@') {
            return Ok(());
        }
        let absolute = name.strip_prefix('.');
        let global = absolute.unwrap_or(name);
        let local = absolute.is_none() && self.locals.contains(&name);
        if !local && path.is_empty() && TYPES.contains(&global) && !self.variables.contains(&global) {
            return Ok(());
        }
        if !local && !self.variables.contains(&global) {
            return Err(self.unknown_variable(global));
        }
        if !path.is_empty() {
            self.findings.paths.push(std::iter::once(&global).chain(path).map(|part| (*part).to_owned()).collect());
        }
        if !local {
            let need = || Need::Fields(BTreeMap::new());
            self.findings.needs.entry(global.to_owned()).or_insert_with(need).add(path);
        }
        Ok(())
    }

    /// The text for a name that is not a variable.
    fn unknown_variable(&self, name: &str) -> String {
        let known = self.variables.iter().copied().chain(self.locals.iter().copied());
        let near = explain::did_you_mean(name, known).map(|near| format!("{near} ")).unwrap_or_default();
        let known = if self.variables.is_empty() { "none".to_owned() } else { self.variables.join(", ") };
        format!("unknown variable '{}'; {near}known: {known}", explain::clipped(name))
    }

    /// Checks a field selection, together with those it follows.
    fn select(&mut self, select: &'t SelectExpr, depth: usize) -> Result<(), String> {
        let mut path = vec![select.field.as_str()];
        let mut operand = &*select.operand;
        // A chain of names is looked up in a loop, so it counts as one level.
        while let Expr::Select(inner) = &operand.expr
            && !inner.test
        {
            path.push(&inner.field);
            operand = &inner.operand;
        }
        if path.len() > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} fields in a row"));
        }
        path.reverse();
        match &operand.expr {
            Expr::Ident(name) => self.name(name, &path),
            // Selections on anything else are evaluated one inside the other.
            _ => match depth.checked_sub(path.len()) {
                Some(depth) => self.visit(operand, depth),
                None => self.visit(operand, 0),
            },
        }
    }

    /// Checks an operator or a function call.
    fn call(&mut self, call: &'t CallExpr, depth: usize) -> Result<(), String> {
        let name = call.func_name.as_str();
        if !(call.target.is_none() && OPERATORS.contains(&name)) {
            function(call)?;
        }
        if let Some(target) = &call.target {
            self.visit(target, depth)?;
        }
        call.args.iter().try_for_each(|argument| self.visit(argument, depth))?;
        // A literal that cannot be read is known before the first evaluation.
        match (name, call.target.is_none(), call.args.as_slice()) {
            ("duration" | "timestamp", true, [IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. }]) => {
                time::literal(name, text.inner())
            }
            _ => Ok(()),
        }
    }

    /// Checks a loop.
    fn comprehension(&mut self, each: &'t ComprehensionExpr, depth: usize) -> Result<(), String> {
        self.visit(&each.iter_range, depth)?;
        self.visit(&each.accu_init, depth)?;
        if self.loops == MAX_LOOPS {
            return Err(format!(
                "more than {MAX_LOOPS} of {} inside one another; split the expression",
                LOOPS.join(", ")
            ));
        }
        self.loops += 1;
        self.locals.push(&each.iter_var);
        for part in [&each.loop_cond, &each.loop_step, &each.result] {
            self.visit(part, depth)?;
        }
        self.locals.pop();
        self.loops -= 1;
        Ok(())
    }
}

/// Checks that the function of a call exists and is called the right way.
fn function(call: &CallExpr) -> Result<(), String> {
    let name = call.func_name.as_str();
    let style = if call.target.is_some() { Style::Member } else { Style::Global };
    if name == operators::HAS {
        return Err("has takes one field selection, as in has(context.key)".to_owned());
    }
    if LOOPS.contains(&name) {
        return Err(format!(
            "{name} is called on a list or a map with a name and a test, as in context.items.{name}(x, x > 0)"
        ));
    }
    match FUNCTIONS.iter().find(|(known, _)| *known == name) {
        Some((_, known)) if *known == Style::Either || *known == style => Ok(()),
        Some((_, Style::Member)) => Err(format!("{name} is called on a value, as in context.key.{name}(…)")),
        Some(_) => Err(format!("{name} takes the value in brackets, as in {name}(context.key)")),
        None => {
            let known = FUNCTIONS.iter().map(|(known, _)| *known);
            let near = explain::did_you_mean(name, known.clone().chain(LOOPS)).map(|near| format!("; {near}"));
            let known: Vec<&str> = known.chain(LOOPS).filter(|known| !known.starts_with("get")).collect();
            let known = format!("; known: has, {}, get… of a timestamp or duration", known.join(", "));
            Err(format!("unknown function '{}'{}", explain::clipped(name), near.unwrap_or(known)))
        }
    }
}

/// How many calls of the interpreter evaluating `node` nests.
pub(crate) fn levels(node: &IdedExpr) -> usize {
    let deepest = |nodes: &mut dyn Iterator<Item = &IdedExpr>| nodes.map(levels).max().unwrap_or(0);
    1 + match &node.expr {
        Expr::Call(call) => deepest(&mut call.target.as_deref().into_iter().chain(&call.args)),
        // A chain of names is looked up in a loop; counting each of its fields is on the safe side.
        Expr::Select(select) => levels(&select.operand),
        Expr::List(list) => deepest(&mut list.elements.iter()),
        Expr::Map(map) => deepest(&mut map.entries.iter().flat_map(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => [Some(&entry.key), Some(&entry.value)].into_iter().flatten(),
            EntryExpr::StructField(field) => [Some(&field.value), None].into_iter().flatten(),
        })),
        Expr::Comprehension(each) => deepest(
            &mut [&each.iter_range, &each.accu_init, &each.loop_cond, &each.loop_step, &each.result].into_iter(),
        ),
        _ => 0,
    }
}
