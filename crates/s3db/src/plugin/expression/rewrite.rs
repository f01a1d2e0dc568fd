//! Rewrites a parsed tree so that evaluating it counts its costs.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::CelInt;

use super::meter::{BYTES_PER_STEP, CHARGE, EACH, MATCHES, METER, Mode, TIMESTAMP};
use super::pattern::Pattern;

/// The tree with its costs counted; the patterns of `matches` are compiled into `patterns`.
pub(crate) fn metered(node: IdedExpr, patterns: &mut Vec<Pattern>) -> Result<IdedExpr, String> {
    let expr = match node.expr {
        Expr::Call(call) => metered_call(call, patterns)?,
        Expr::Comprehension(each) => metered_loop(*each, patterns)?,
        Expr::Select(mut select) => {
            *select.operand = metered(std::mem::take(&mut *select.operand), patterns)?;
            Expr::Select(select)
        }
        Expr::List(mut list) => {
            for element in &mut list.elements {
                *element = counted(std::mem::take(element), Mode::Keep, patterns)?;
            }
            Expr::List(list)
        }
        Expr::Map(mut map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    entry.key = counted(std::mem::take(&mut entry.key), Mode::Keep, patterns)?;
                    entry.value = counted(std::mem::take(&mut entry.value), Mode::Keep, patterns)?;
                }
            }
            Expr::Map(map)
        }
        expr => expr,
    };
    Ok(IdedExpr { id: node.id, expr })
}

/// A call with its arguments counted in the way that fits the function.
fn metered_call(mut call: CallExpr, patterns: &mut Vec<Pattern>) -> Result<Expr, String> {
    if call.func_name == "matches" {
        return metered_matches(call, patterns);
    }
    if call.func_name == "timestamp" && call.args.len() == 1 {
        let argument = call.args.pop().unwrap_or_default();
        return Ok(counting(TIMESTAMP, metered(argument, patterns)?, 0).expr);
    }
    let name = call.func_name.clone();
    let plain = [
        operators::CONDITIONAL,
        operators::LOGICAL_AND,
        operators::LOGICAL_OR,
        operators::LOGICAL_NOT,
        operators::NOT_STRICTLY_FALSE,
        operators::NEGATE,
    ];
    let mode = |position: usize| match (name.as_str(), position) {
        (operators::INDEX, 0) => None,
        (operators::INDEX, _) => Some(Mode::Index),
        (operators::IN, 1) => Some(Mode::Within),
        (operators::ADD, _) => Some(Mode::Term),
        ("size" | "type" | "dyn", _) => Some(Mode::Flat),
        ("duration", _) => Some(Mode::Duration),
        (name, _) if plain.contains(&name) => None,
        _ => Some(Mode::Deep),
    };
    for (position, argument) in call.args.iter_mut().enumerate() {
        let node = std::mem::take(argument);
        *argument = match mode(position) {
            Some(mode) => counted(node, mode, patterns)?,
            None => metered(node, patterns)?,
        };
    }
    if let Some(target) = &mut call.target {
        let mode = if name == "size" { Mode::Flat } else { Mode::Deep };
        **target = counted(std::mem::take(&mut **target), mode, patterns)?;
    }
    Ok(Expr::Call(call))
}

/// `matches` with its pattern compiled.
fn metered_matches(call: CallExpr, patterns: &mut Vec<Pattern>) -> Result<Expr, String> {
    let mut operands: Vec<IdedExpr> = call.target.map(|target| *target).into_iter().chain(call.args).collect();
    let (Some(pattern), Some(text), true) = (operands.pop(), operands.pop(), operands.is_empty()) else {
        return Err("matches takes a text and a pattern, as in context.key.matches('^a')".to_owned());
    };
    let Expr::Literal(LiteralValue::String(pattern)) = pattern.expr else {
        return Err("the pattern of matches must be a text in quotes".to_owned());
    };
    let compiled = Pattern::compile(pattern.inner(), patterns)?;
    let index = i64::try_from(patterns.len()).map_err(|_| "too many patterns".to_owned())?;
    patterns.push(compiled);
    let text = metered(text, patterns)?;
    Ok(counting(MATCHES, text, index).expr)
}

/// A loop with its range and its body counted.
fn metered_loop(mut each: ComprehensionExpr, patterns: &mut Vec<Pattern>) -> Result<Expr, String> {
    each.accu_init = metered(each.accu_init, patterns)?;
    each.loop_cond = metered(each.loop_cond, patterns)?;
    each.loop_step = metered(each.loop_step, patterns)?;
    each.result = metered(each.result, patterns)?;
    let body = nodes(&each.loop_cond) + nodes(&each.loop_step);
    let range = metered(each.iter_range, patterns)?;
    each.iter_range = counting(EACH, range, i64::try_from(body).unwrap_or(i64::MAX));
    Ok(Expr::Comprehension(Box::new(each)))
}

/// A node inside a call that counts its value, unless its value is known to be small.
fn counted(node: IdedExpr, mode: Mode, patterns: &mut Vec<Pattern>) -> Result<IdedExpr, String> {
    let small = match &node.expr {
        // The accumulator of a loop, which the interpreter recognises by its place in the tree.
        Expr::Ident(name) => name.starts_with('@'),
        Expr::Literal(LiteralValue::String(text)) => text.inner().len() as u64 <= BYTES_PER_STEP,
        Expr::Literal(LiteralValue::Bytes(bytes)) => bytes.inner().len() as u64 <= BYTES_PER_STEP,
        Expr::Literal(LiteralValue::Double(_)) => !matches!(mode, Mode::Index),
        Expr::Literal(_) => true,
        // Its parts are counted.
        Expr::List(_) => matches!(mode, Mode::Term),
        _ => false,
    };
    let node = metered(node, patterns)?;
    Ok(if small { node } else { counting(CHARGE, node, mode as i64) })
}

/// A call of a counting function.
fn counting(function: &str, node: IdedExpr, number: i64) -> IdedExpr {
    let id = node.id;
    let new = |expr: Expr| IdedExpr { id, expr };
    let args =
        vec![new(Expr::Ident(METER.to_owned())), node, new(Expr::Literal(LiteralValue::Int(CelInt::from(number))))];
    new(Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }))
}

/// How many nodes are evaluated, but for the bodies of loops, which count for themselves.
fn nodes(node: &IdedExpr) -> usize {
    1 + match &node.expr {
        Expr::Call(call) => call.target.iter().map(|target| nodes(target)).chain(call.args.iter().map(nodes)).sum(),
        Expr::Select(select) => nodes(&select.operand),
        Expr::List(list) => list.elements.iter().map(nodes).sum(),
        Expr::Map(map) => map
            .entries
            .iter()
            .map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => nodes(&entry.key) + nodes(&entry.value),
                EntryExpr::StructField(field) => nodes(&field.value),
            })
            .sum(),
        Expr::Comprehension(each) => nodes(&each.iter_range) + nodes(&each.accu_init) + nodes(&each.result),
        _ => 0,
    }
}
