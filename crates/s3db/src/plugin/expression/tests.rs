use serde_json::json;

use super::*;

/// What most of these expressions may name.
const NAMES: [&str; 4] = ["context", "payload", "event", "now"];

fn variables() -> Map<String, Value> {
    let Value::Object(variables) = json!({
        "context": {
            "total": 99.5, "count": 3, "name": "Ada", "none": null, "big": u64::MAX, "max": i64::MAX, "zero": 0,
            "items": [1, 2, 3], "prices": {"b": 2, "a": 1}, "createdAt": "2026-01-01T00:00:00Z",
            "users": [{"name": "Ada"}, {"name": "Bob", "admin": true}], "customer": {"vip": true},
        },
        "payload": {"ok": true},
        "event": "PAY",
        "now": "2026-01-01T01:30:00+00:30",
        "unused": [[[]]],
    }) else {
        unreachable!("it is an object")
    };
    variables
}

fn compile(source: &str) -> Result<Expression, String> {
    Expression::compile(source, &NAMES)
}

fn evaluate(source: &str) -> Result<Value, String> {
    compile(source)?.evaluate(&variables())
}

fn over(source: &str, context: Value) -> Result<Value, String> {
    Expression::compile(source, &["context"])?.evaluate(&Map::from_iter([("context".to_owned(), context)]))
}

/// The error of compiling or of evaluating.
fn error(source: &str) -> String {
    match evaluate(source) {
        Ok(value) => panic!("{source} gives {value}"),
        Err(error) => error,
    }
}

/// Runs `work` on a thread with less stack than a runtime's worker has.
fn on_a_small_stack(work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let running = thread::Builder::new().stack_size(1280 << 10).spawn_scoped(scope, work).expect("a thread starts");
        running.join().expect("the work does not panic");
    });
}

#[test]
fn right_answers() {
    let table = [
        ("context.total > 99", json!(true)),
        ("1 == 1.0 && 1 == 1u && 1 < 1.5 && 2u > 1 && context.count == 3.0", json!(true)),
        ("context.big > context.max && context.big > 0", json!(true)),
        ("[context.big, context.max, context.total, 4.0]", json!([u64::MAX, i64::MAX, 99.5, 4.0])),
        ("double(context.count) * context.total", json!(298.5)),
        ("7 / 2 + 7 % 2 - -1", json!(5)),
        ("context.name + ' ' + string(context.count)", json!("Ada 3")),
        ("'a' + \"b\" + r'\\c' + '''d'''", json!("ab\\cd")),
        ("size('h\u{e9}llo') + 'ab'.size() + context.items.size() + size(context.prices)", json!(12)),
        ("event == 'PAY' && payload.ok && !(context.count > 3)", json!(true)),
        ("context.count > 2 ? 'many' : 'few'", json!("many")),
        ("has(context.none) && !has(context.missing) && context.none == null", json!(true)),
        ("has(context.missing) && context.missing > 1", json!(false)),
        ("context.missing > 1 || true", json!(true)),
        ("2 in context.items && !(9 in context.items) && 'a' in context.prices", json!(true)),
        ("context.items[0] + context.items[2] + context['count'] + context.prices['a']", json!(8)),
        ("context.items.all(x, x > 0) && context.items.exists(x, x == 3)", json!(true)),
        ("context.items.exists_one(x, x == 2) && !context.items.exists_one(x, x > 1)", json!(true)),
        ("context.items.exists(x, 1 / (x - 1) == 1)", json!(true)),
        ("context.items.map(x, x * 2)", json!([2, 4, 6])),
        ("context.items.map(x, x > 1, x * 2)", json!([4, 6])),
        ("context.items.filter(x, x != 2).map(x, [x, {'x': x}])", json!([[1, {"x": 1}], [3, {"x": 3}]])),
        ("context.users.filter(u, has(u.admin) && u.admin).map(u, u.name)", json!(["Bob"])),
        ("context.items.map(x, context.items.map(y, [x].map(z, z + y)))[2]", json!([[4], [5], [6]])),
        ("context.items.all(context, context > 0)", json!(true)),
        (".context.items.map(context, .context.count + context)", json!([4, 5, 6])),
        ("context.prices.map(k, k)", json!(["a", "b"])),
        ("context.prices.all(k, context.prices[k] > 0)", json!(true)),
        ("context.items + [4]", json!([1, 2, 3, 4])),
        ("context.users == [{'name': 'Ada'}, {'admin': true, 'name': 'Bob'}]", json!(true)),
        ("context.name.matches('^A.a$') && !matches(context.name, 'b')", json!(true)),
        ("context.name.startsWith('A') && context.name.endsWith('a') && context.name.contains('d')", json!(true)),
        ("now - duration('1h') >= timestamp(context.createdAt)", json!(true)),
        ("now - timestamp(context.createdAt)", json!(3_600_000)),
        ("duration('1.5s') + duration('-1ms')", json!(1499)),
        ("now", json!("2026-01-01T01:00:00.000Z")),
        ("timestamp('2026-01-01T00:00:00.123456+01:00')", json!("2025-12-31T23:00:00.123Z")),
        (
            "[now.getHours(), timestamp('2026-01-01T00:00:00+01:00').getHours(), now.getHours('+02:00')]",
            json!([1, 23, 3]),
        ),
        ("timestamp(0) < now && int(timestamp(context.createdAt)) == 1767225600", json!(true)),
        ("b'abc'", json!("YWJj")),
        ("{2: 'int', true: 'bool', 'text': now, 1u: 'uint'}.size()", json!(4)),
        ("{2: 'b', 1u: 'a', 'c': 3}", json!({"2": "b", "1": "a", "c": 3})),
        ("int('12') + int(3.9) + int(2u)", json!(17)),
        ("type(context.count) == int && type(context.total) == double && dyn(1) == 1", json!(true)),
        ("[null, true, [], {}]", json!([null, true, [], {}])),
        ("  1 +\n 2 // the rest is a comment", json!(3)),
    ];
    for (source, answer) in table {
        assert_eq!(evaluate(source), Ok(answer), "{source}");
    }
}

#[test]
fn a_guard_must_be_a_bool() {
    assert_eq!(compile("context.count > 2").unwrap().test(&variables()), Ok(true));
    assert_eq!(compile("context.count > 3").unwrap().test(&variables()), Ok(false));
    for (source, was) in [
        ("context.name", "the string 'Ada'"),
        ("context.count", "the int 3"),
        ("context.none", "null"),
        ("context.items", "a list"),
        ("now", "a timestamp"),
    ] {
        let error = compile(source).unwrap().test(&variables()).unwrap_err();
        assert!(error.starts_with(&format!("the guard gives {was}, not a bool")), "{error}");
    }
}

#[test]
fn an_expression_keeps_its_source_and_is_shared() {
    let one = compile(" context.count ").unwrap();
    let other = one.clone();
    assert_eq!(other.source(), " context.count ");
    assert_eq!(format!("{other:?}"), "Expression(\" context.count \")");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(one.evaluate(&variables()), Ok(json!(3))));
        }
    });
}

#[test]
fn an_unknown_variable_is_refused_and_the_near_one_named() {
    assert_eq!(
        error("contxt.total > 1"),
        "unknown variable 'contxt'; did you mean 'context'? known: context, payload, event, now"
    );
    assert_eq!(error("zzz"), "unknown variable 'zzz'; known: context, payload, event, now");
    assert_eq!(Expression::compile("a", &[]).unwrap_err(), "unknown variable 'a'; known: none");
    // The name of a loop ends with it, and `int` is a type unless it is a variable.
    assert!(error("context.items.all(x, true) && x").contains("unknown variable 'x'"));
    assert!(error("int.field").contains("unknown variable 'int'"));
    let int = Map::from_iter([("int".to_owned(), json!({"field": 1}))]);
    assert_eq!(Expression::compile("int.field", &["int"]).unwrap().evaluate(&int), Ok(json!(1)));
}

#[test]
fn an_unknown_function_is_refused_and_the_near_one_named() {
    assert_eq!(error("context.name.contans('a')"), "unknown function 'contans'; did you mean 'contains'?");
    assert!(error("sha256(context.name)").starts_with("unknown function 'sha256'; known: has, bool, "));
    assert_eq!(error("contains(context.name, 'a')"), "contains is called on a value, as in context.key.contains(…)");
    assert_eq!(error("context.count.string()"), "string takes the value in brackets, as in string(context.key)");
    assert!(error("context.items.all(x)").contains("as in context.items.all(x, x > 0)"));
    assert!(error("has(context)").contains("has takes one field selection"));
    for internal in ["@charge(1)", "context.@meter", "__charge(1)"] {
        assert!(compile(internal).is_err());
    }
}

#[test]
fn a_missing_key_is_named() {
    assert_eq!(
        error("context.totl > 1"),
        "no such key 'totl' in context; did you mean 'total'? test for it with has(context.totl)"
    );
    assert_eq!(
        error("context.customer.tier == 'gold'"),
        "no such key 'tier' in context.customer; test for it with has(context.customer.tier)"
    );
    assert_eq!(
        error("context.missing.deeper"),
        "no such key 'missing' in context; test for it with has(context.missing)"
    );
    assert_eq!(error("context.users.all(u, u.admin)"), "no such key 'admin' in u; test for it with has(u.admin)");
    assert!(error("context['missing']").starts_with("no such key 'missing'; test for it with 'missing' in the map"));
    assert_eq!(error("context.none.a"), "null has no fields; test the value with != null first");
    assert_eq!(error("context.name.a"), "string has no fields, only a map does");
}

#[test]
fn a_variable_that_is_not_given_is_named() {
    let expression = compile("payload.ok").unwrap();
    assert_eq!(expression.evaluate(&Map::new()), Err("the variable 'payload' was not given".to_owned()));
}

#[test]
fn types_that_do_not_go_together_come_with_the_conversion() {
    for (source, text) in [
        ("context.count * context.total", "no such overload: int * double; write double(…) around the whole number"),
        ("context.count + 1u", "no such overload: int + uint; write int(…) around the uint"),
        ("context.name + 1", "no such overload: string + int; write string(…) around the other side"),
        ("context.name > 1", "no such overload: string > int; write int(…) or double(…) around the text"),
        ("context.none > 1", "no such overload: null > int; one side is null; test it with != null first"),
        ("now > context.createdAt", "no such overload: timestamp > string; write timestamp(…) around the text"),
        ("now - 60", "no such overload: timestamp - int; write the span as duration('90s')"),
        ("duration('1h') > '1h'", "no such overload: duration > string; write duration(…) around the text"),
        ("context.count && true", "no such overload: int && bool; both sides must be bool; write a comparison"),
        ("!context.count", "no such overload: !int; ! wants a bool; write a comparison"),
        ("-context.name", "no such overload: -string; - wants an int or a double"),
        ("1 in 2", "no such overload: int in int; the right side of in is a list or a map"),
        (
            "context.items['a']",
            "no such overload: list[string]; a list is indexed with a whole number and a map with a key",
        ),
        ("context.count.matches('a')", "no such overload: int.matches(string); check the types of the arguments"),
        ("size(5)", "no such overload: size(int); check the types of the arguments"),
        ("context.count ? 1 : 2", "expected bool, got int; write a comparison"),
        ("context.name.all(x, true)", "string cannot be looped over; all, exists, map and filter want a list or a map"),
        ("context.items + context.prices", "+: a map cannot be added; list its keys with map(k, k)"),
        ("{[1]: 2}", "list cannot be a map key; write string(…) around it"),
    ] {
        assert_eq!(error(source), text, "{source}");
    }
}

#[test]
fn arithmetic_that_fails_says_so() {
    for (source, text) in [
        ("1 / context.zero", "division by zero; test the divisor with != 0 first"),
        ("1 % context.zero", "remainder by zero; test the divisor with != 0 first"),
        ("context.max + 1", "overflow: int + int does not fit"),
        ("-(-9223372036854775807 - 1)", "overflow: -int does not fit"),
        ("context.items[7]", "no item 7 in the list; test size(…) first"),
        ("context.items[0.5]", "index: a list is indexed with a whole number"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1h')", "overflow: timestamp + duration does not fit"),
        ("{'a': 1, 'a': 2}", "the map repeats the key 'a'"),
    ] {
        assert_eq!(error(source), text, "{source}");
    }
}

#[test]
fn a_result_json_cannot_hold_is_an_error() {
    for (source, text) in [
        ("1.0 / 0.0", "the result inf is not a number JSON can hold"),
        ("double('nan')", "the result NaN is not a number JSON can hold"),
        ("type(1)", "a type is not a value; compare it, or write string(…)"),
        ("{1: 'a', '1': 'b'}", "two keys of the result read '1' as text"),
    ] {
        assert_eq!(error(source), text, "{source}");
    }
}

#[test]
fn times_are_read_whole_or_refused() {
    for source in ["duration('1h7d')", "duration('90')", "duration('')", "duration('300000000h')", "duration('infs')"] {
        assert!(compile(source).unwrap_err().starts_with("duration: '"), "{source}");
    }
    assert_eq!(
        compile("timestamp('2026-01-01')").unwrap_err(),
        "timestamp: '2026-01-01' is not a time such as 2026-01-31T12:00:00Z"
    );
    assert!(error("duration(context.name + 'h')").starts_with("duration: 'Adah' is not one"));
    assert_eq!(error("timestamp(context.name)"), "timestamp: 'Ada' is not a time such as 2026-01-31T12:00:00Z");
    let now = |json: Value| compile("now").unwrap().evaluate(&Map::from_iter([("now".to_owned(), json)]));
    assert_eq!(
        now(json!("soon")),
        Err("the variable 'now': 'soon' is not a time such as 2026-01-31T12:00:00Z".to_owned())
    );
    assert_eq!(now(json!(5)), Err("the variable 'now' is not an RFC 3339 text".to_owned()));
}

#[test]
fn a_syntax_error_says_where() {
    assert_eq!(error("context.total >> 1"), "line 1, column 16: extraneous input '>'");
    assert_eq!(error("1 +\n  )"), "line 2, column 3: mismatched input ')'");
    assert_eq!(error(" "), "the expression is empty; write for example context.total > 99");
    assert!(error("context.?a").ends_with("optional syntax is not supported; test for a key with has(context.key)"));
    assert!(error("Foo{a: 1}").starts_with("message literals such as Foo{…} are not supported"));
}

#[test]
fn texts_are_short_lower_case_and_without_a_full_stop() {
    let long = "x".repeat(3000);
    let mut sources =
        vec![format!("context.{long}"), format!("{long}.a"), format!("{long}(1)"), format!("'{long}' + 1")];
    sources.extend([
        format!("'{long}'.matches('(')"),
        format!("int('{long}')"),
        format!("{{'{long}': 1, '{long}': 2}}"),
    ]);
    sources.extend([
        format!("'a'.matches('({long}')"),
        format!("duration('{long}')"),
        format!("{long} {long}"),
        format!("'{long}'"),
    ]);
    sources.extend([
        "?".to_owned(),
        "'".to_owned(),
        "1 2".to_owned(),
        "9223372036854775808".to_owned(),
        "\"\\uD800\"".to_owned(),
    ]);
    for source in &sources {
        let error = match compile(source) {
            Ok(expression) => match expression.test(&variables()) {
                Ok(answer) => panic!("{source} gives {answer}"),
                Err(error) => error,
            },
            Err(error) => error,
        };
        assert!(error.len() < 400 && !error.ends_with('.') && !error.contains('\n'), "{error}");
        assert!(error.starts_with(|c: char| !c.is_uppercase()), "{error}");
    }
}

#[test]
fn a_pattern_is_compiled_once_and_within_a_size() {
    assert_eq!(error("context.name.matches(context.name)"), "the pattern of matches must be a text in quotes");
    assert_eq!(error("context.name.matches('(')"), "the pattern '(' is not a regular expression");
    assert!(error(r"context.name.matches('\\w{500}')").contains("is too large"));
    assert!(error("context.name.matches('((a{200}){200}){200}')").contains("is too large"));
    let many = vec![r"context.name.matches('^\\w{1,30}$')"; 60].join("&&");
    assert!(error(&many).contains("is too large"));
    assert_eq!(evaluate(r"context.name.matches('^\\w{1,30}$') && context.name.matches('(a*)*$')"), Ok(json!(true)));
    let text = "ab".repeat(500_000);
    let slow = over("context.text.matches('[ab]*a[ab]{1500}c')", json!({"text": text}));
    assert!(slow.unwrap_err().contains("steps"));
    assert_eq!(over("context.text.matches('^(ab)+$')", json!({"text": text})), Ok(json!(true)));
}

#[test]
fn hostile_sources_are_refused_on_a_small_stack() {
    let n = 4000;
    let nested = |open: &str, close: &str, times: usize| format!("{}1{}", open.repeat(times), close.repeat(times));
    let sources = vec![
        "(".repeat(n),
        "[".repeat(n),
        "{".repeat(n),
        ")".repeat(n),
        "?".repeat(n),
        "'".repeat(n),
        ",".repeat(n),
        ".".repeat(n),
        "\u{e9}".repeat(n / 2),
        "\0".repeat(n),
        "a?".repeat(n / 2),
        "a?a:".repeat(n / 4),
        "-(".repeat(n / 2),
        "!(".repeat(n / 2),
        "a[".repeat(n / 2),
        "f(".repeat(n / 2),
        "A{a:".repeat(n / 4),
        "{1:".repeat(n / 3),
        "context.all(x,".repeat(n / 14),
        nested("(", ")", 2000),
        nested("[", "]", 2000),
        nested("{1:", "}", 1000),
        nested("size([", "])", 500),
        nested("true?1:(", ")", 400),
        nested("[1].all(x,", ")", 300),
        format!("{}1", "1+".repeat(n / 2)),
        format!("{}1", "1<".repeat(n / 2)),
        format!("context{}", ".a".repeat(n / 2 - 10)),
        format!("f(){}", ".a".repeat(n / 2 - 10)),
        format!("context{}", "[0]".repeat(n / 3 - 10)),
        format!("context{}", ".size()".repeat(n / 7 - 10)),
        format!("context{}", ".map(x,x)".repeat(n / 9 - 10)),
        "a".repeat(MAX_SOURCE_BYTES + 1),
    ];
    on_a_small_stack(|| {
        for source in &sources {
            let error = compile(source).unwrap_err();
            assert!(error.len() < 400, "{error}");
        }
    });
    // These stay shallow however long they are.
    for (source, answer) in [
        (format!("{}true", "!".repeat(n)), json!(true)),
        (format!("{}1", "-".repeat(n + 1)), json!(-1)),
        (format!("{}true", "true&&".repeat(n / 6)), json!(true)),
        (format!("{}false", "false||".repeat(n / 7)), json!(false)),
        (format!("[{}1].size()", "1,".repeat(n / 2)), json!(n / 2 + 1)),
    ] {
        on_a_small_stack(|| assert_eq!(evaluate(&source), Ok(answer)));
    }
}

#[test]
fn the_deepest_trees_are_evaluated_on_a_small_stack() {
    let mut json = json!(1);
    for _ in 0..convert::MAX_JSON_DEPTH - 1 {
        json = json!([json]);
    }
    let variables = Map::from_iter([("context".to_owned(), json!({"deep": json, "text": "a", "yes": true, "one": 1}))]);
    let nested = |open: &str, middle: &str, close: &str, times: usize| {
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    let shapes: [&dyn Fn(usize) -> String; 12] = [
        &|times| nested("context.text + ", "'b'", "", times),
        &|times| nested("!(", "context.yes", ")", times),
        &|times| nested("[", "context.deep", "]", times),
        &|times| nested("{'a': ", "context.deep", "}", times),
        &|times| nested("[size(", "context.deep", ")]", times),
        &|times| nested("dyn(", "context.deep", ")", times),
        &|times| nested("context.yes && (", "context.yes", ")", times),
        &|times| nested("context.yes ? (", "context.one", ") : 2", times),
        &|times| nested("[context.deep in ", "context.deep", "]", times),
        &|times| nested("", "context.deep", "[0]", times),
        &|times| nested("", "context.deep", ".map(x, x)", times),
        &|times| nested("context.deep.map(x, ", "x", ")", times),
    ];
    for shape in shapes {
        let mut accepted = 0;
        for times in 1..=MAX_DEPTH {
            let Ok(expression) = Expression::compile(&shape(times), &["context"]) else { break };
            accepted = times;
            on_a_small_stack(|| {
                // Whether it is an answer or an error is another matter.
                drop(expression.evaluate(&variables));
                drop(expression);
            });
        }
        assert!(accepted >= MAX_LOOPS, "{}", shape(1));
    }
}

#[test]
fn json_that_is_too_deep_is_refused() {
    let deep = |levels: usize| (0..levels).fold(json!(1), |json, _| json!([json]));
    assert!(over("context", deep(convert::MAX_JSON_DEPTH)).is_ok());
    on_a_small_stack(|| {
        let error = over("context", deep(convert::MAX_JSON_DEPTH + 1)).unwrap_err();
        assert_eq!(error, "the variable 'context' has more than 128 lists and objects inside one another");
    });
}

#[test]
fn loops_inside_one_another_are_limited() {
    let nested = |times: usize| format!("{}true{}", "[1].all(x, ".repeat(times), ")".repeat(times));
    assert_eq!(evaluate(&nested(MAX_LOOPS)), Ok(json!(true)));
    assert!(
        error(&nested(MAX_LOOPS + 1))
            .starts_with("more than 3 of all, exists, exists_one, filter, map inside one another")
    );
    // One after the other is not inside one another.
    assert_eq!(evaluate("[1].map(a, a).map(b, b).map(c, c).map(d, d)"), Ok(json!([1])));
}

#[test]
fn work_is_bounded_whatever_the_data() {
    let numbers: Vec<u32> = (0..100_000).collect();
    let map: Map<String, Value> = (0..20_000).map(|i| (format!("key{i}"), json!(i))).collect();
    let context =
        json!({"numbers": numbers, "hundred": (0..100).collect::<Vec<u32>>(), "text": "x".repeat(1 << 20), "map": map});
    assert_eq!(over("context.numbers.all(x, x >= 0)", context.clone()), Ok(json!(true)));
    assert_eq!(over("context.map.map(k, context.map[k])[19999]", context.clone()), Ok(json!(9999)));
    let doubling = format!("[context.text]{}", ".map(a, a + a)".repeat(20));
    let literal = format!("context.numbers.map(x, '{}')", "x".repeat(2000));
    let wide = format!("[{}]", vec!["context.numbers"; 200].join(","));
    for source in [
        "context.hundred.all(x, context.hundred.all(y, context.hundred.all(z, x >= 0)))",
        "context.numbers.all(x, context.numbers.all(y, true))",
        "context.hundred.map(x, context.text)",
        "context.hundred.map(x, context)",
        "context.hundred.map(x, context.text + 'a').size()",
        "context.hundred.exists(x, x < [context.map, context.map])",
        "context.hundred.exists(x, context.numbers == [x])",
        "context.hundred.all(x, x in context.numbers + [1])",
        "context.numbers.exists(x, context.numbers[context.map] == 1)",
        "context.hundred.all(x, context.text.contains('y' + context.text) == false)",
        &literal,
        "context.numbers.all(x, context.text.size() > 0)",
        "context.hundred.all(x, context.map.all(k, true))",
        &doubling,
        &wide,
        // Running out cannot be overruled.
        "context.numbers.all(x, context.numbers.all(y, true)) || true",
        "context.hundred.exists(x, context.hundred.map(y, context.text).size() > 0 || true)",
    ] {
        let error = over(source, context.clone()).unwrap_err();
        assert!(error.starts_with("the expression takes more than 5000000 steps"), "{source}: {error}");
    }
}

#[test]
fn the_same_input_always_costs_and_gives_the_same() {
    let map: Map<String, Value> = (0..50).map(|i| (format!("key{}", i * 7 % 50), json!(i))).collect();
    let expression = Expression::compile("[context.map(k, k), {'b': 1, 'a': context}]", &["context"]).unwrap();
    let variables = Map::from_iter([("context".to_owned(), Value::Object(map))]);
    let text = |variables| expression.evaluate(variables).unwrap().to_string();
    let first = text(&variables);
    for _ in 0..5 {
        assert_eq!(text(&variables), first);
    }
}

#[test]
fn only_what_is_named_is_read() {
    let compiled =
        compile("context.customer.vip && context.users.all(u, u.name != event) && has(context.a.b)").unwrap();
    let needs = format!("{:?}", compiled.compiled.findings.needs["context"]);
    assert_eq!(
        needs,
        "Fields({\"a\": Fields({\"b\": Whole}), \"customer\": Fields({\"vip\": Whole}), \"users\": Whole})"
    );
    assert_eq!(compiled.compiled.findings.needs["event"], check::Need::Whole);
}

#[test]
fn random_sources_never_panic() {
    const PIECES: [&str; 70] = [
        "context",
        "payload",
        "event",
        "now",
        "x",
        ".total",
        ".items",
        ".name",
        ".missing",
        ".users",
        ".prices",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        ".",
        "+",
        "-",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        "!",
        " in ",
        "1",
        "0",
        "2.5",
        "3u",
        "'a'",
        "\"b\"",
        "b'c'",
        "r'\\d'",
        "null",
        "true",
        "false",
        ".all(x, ",
        ".map(x, ",
        ".filter(x, ",
        ".exists(x, ",
        ".exists_one(x, ",
        "has(",
        "size(",
        "int(",
        "string(",
        "timestamp(",
        "duration('1h')",
        "type(",
        ".matches('a*')",
        ".size()",
        ".getHours()",
        "'2026-01-01T00:00:00Z'",
        "9223372036854775807",
        "1e308",
        "// \n",
        "@",
        "`",
        "\\",
        "\u{1f600}",
        "'",
        "Foo{a: 1}",
    ];
    // A sequence of Lehmer's: the same sources on every run.
    let mut state: u64 = 20_260_101;
    let mut pick = |limit: usize| {
        state = state * 48_271 % 2_147_483_647;
        usize::try_from(state).unwrap_or(0) % limit
    };
    let variables = variables();
    let (mut compiled, mut answered) = (0, 0);
    for _ in 0..1500 {
        // Half of them are drawn from a grammar, so that they get past the parser.
        let source = if pick(2) == 0 {
            (0..=pick(12)).map(|_| PIECES[pick(PIECES.len())]).collect()
        } else {
            {
                let depth = 1 + pick(4);
                sentence(&mut pick, depth)
            }
        };
        let result = compile(&source).and_then(|expression| {
            compiled += 1;
            expression.evaluate(&variables)
        });
        match result {
            Ok(_) => answered += 1,
            // A panic inside the interpreter is caught, but there should be none to catch.
            Err(error) => assert_ne!(error, gave_up(), "{source}"),
        }
    }
    assert!(compiled > 500 && answered > 50, "{compiled} compiled, {answered} answered");
}

/// A source of a small grammar, at most `depth` deep.
fn sentence(pick: &mut impl FnMut(usize) -> usize, depth: usize) -> String {
    const ATOMS: [&str; 16] = [
        "context.total",
        "context.count",
        "context.items",
        "context.name",
        "context.none",
        "context.users",
        "context.prices",
        "context.missing",
        "payload.ok",
        "event",
        "now",
        "1",
        "2.5",
        "3u",
        "'a'",
        "[]",
    ];
    const OPERATORS: [&str; 14] = ["+", "-", "*", "/", "%", "==", "!=", "<", ">", ">=", "&&", "||", " in ", "+"];
    const FUNCTIONS: [&str; 9] = ["size", "int", "uint", "double", "string", "bytes", "type", "timestamp", "duration"];
    const LOOPS: [&str; 5] = ["all", "exists", "exists_one", "map", "filter"];
    if depth == 0 {
        return ATOMS[pick(ATOMS.len())].to_owned();
    }
    let part = |pick: &mut _| sentence(pick, depth - 1);
    match pick(10) {
        0 | 1 => format!("({} {} {})", part(pick), OPERATORS[pick(14)], sentence(pick, depth - 1)),
        2 => format!("{}({})", FUNCTIONS[pick(9)], part(pick)),
        3 => format!("{}.{}(x, {} == x)", part(pick), LOOPS[pick(5)], sentence(pick, depth - 1)),
        4 => format!("[{}, {}]", part(pick), part(pick)),
        5 => format!("{{{}: {}}}", part(pick), part(pick)),
        6 => format!("({} ? {} : {})", part(pick), part(pick), part(pick)),
        7 => format!("!{}", part(pick)),
        8 => format!("-{}", part(pick)),
        _ => format!("{}[{}]", part(pick), part(pick)),
    }
}
