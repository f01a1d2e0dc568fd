//! Expressions against vectors, against brute force, and against a second implementation.

use std::path::Path;

use jiff::{Timestamp, Zoned};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn instant(value: &Value) -> i64 {
    s3db_format::date::instant(value.as_str().unwrap()).unwrap()
}

fn instants(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(instant).collect()
}

fn check(case: &Value, dst: Dst, expected: &Value) {
    let (expression, zone) = (case["expr"].as_str().unwrap(), case["zone"].as_str().unwrap());
    let cron = Cron::parse(expression, zone, dst).unwrap();
    let (after, expected) = (instant(&case["after"]), instants(expected));
    let found: Vec<i64> = cron.iter_after(after).take(expected.len()).collect();
    assert_eq!(found, expected, "{expression} in {zone}, {dst:?}");
    let last = *expected.last().unwrap();
    assert_eq!(cron.last_until(last + 999), Some(last), "{expression}");
    assert_eq!(cron.count_between(after, last), expected.len() as u64, "{expression} in {zone}, {dst:?}");
}

#[test]
fn the_next_instants_are_those_of_the_vectors() {
    let mut cases = 0;
    for file in ["cron-next.json", "cron-next-extended.json"] {
        for case in vectors(file)["cases"].as_array().unwrap() {
            check(case, Dst::Vixie, &case["next"]);
            cases += 1;
        }
    }
    assert!(cases > 120);
}

#[test]
fn changes_of_the_clock_are_those_of_the_vectors() {
    let vectors = vectors("cron-dst.json");
    let cases = vectors["cases"].as_array().unwrap();
    for case in cases {
        check(case, Dst::Vixie, &case["vixie"]);
        check(case, Dst::Skip, &case["skip"]);
    }
    assert!(cases.len() > 100);
}

#[test]
fn what_the_specification_refuses_is_refused_with_field_and_position() {
    let vectors = vectors("cron-syntax.json");
    for case in vectors["accept"].as_array().unwrap() {
        let parsed = Cron::parse(case["expr"].as_str().unwrap(), "UTC", Dst::Vixie);
        assert!(parsed.is_ok(), "{case}: {parsed:?}");
    }
    for case in vectors["reject"].as_array().unwrap() {
        let refused = Cron::parse(case["expr"].as_str().unwrap(), "UTC", Dst::Vixie).unwrap_err();
        let field = &refused.details().unwrap()["fields"][0];
        assert!(refused.kind() == ErrorKind::Invalid && refused.guidance().is_some(), "{case}");
        assert!(field["position"].as_u64().unwrap() >= 1 && field["field"].is_string(), "{case}: {field}");
    }
}

#[test]
fn an_error_says_which_item_of_which_field() {
    let cases = [
        ("0 0 * * 1,2,9", "day of week", 13),
        ("*/5  25 * * *", "hour", 6),
        ("0 0 1,,2 * *", "day of month", 7),
        ("0 0 * * +8", "day of week", 10),
        ("é 0 * * *", "minute", 1),
        ("1-é 0 * * *", "minute", 1),
        ("0 0 L-3 * *", "day of month", 5),
        ("0 0 W * *", "day of month", 5),
        ("0 0 32W * *", "day of month", 5),
        ("0 0 L,LW * *", "day of month", 7),
        ("0 0 1-5W * *", "day of month", 5),
        ("0 0 * * L", "day of week", 9),
        ("0 0 * * MON#0", "day of week", 9),
        ("0 0 * * MON-FRI#1", "day of week", 9),
        ("0 0 ?/2 * *", "day of month", 5),
        ("0 0 +1 * *", "day of month", 5),
        ("0 0 * JUL-JUN *", "month", 7),
        ("0 0 * * FRI-MON", "day of week", 9),
        ("5/15 * * * *", "minute", 1),
        ("*/x * * * *", "minute", 1),
        ("-5 * * * *", "minute", 1),
        ("0 0 0 1 1 * 2500", "year", 13),
        ("0 0 * * *\u{a0}", "day of week", 9),
        ("@reboot", "schedule", 1),
        ("@daily  @daily", "schedule", 9),
        ("* * * *", "schedule", 1),
        (" ", "schedule", 1),
    ];
    for (expression, field, position) in cases {
        let refused = Cron::parse(expression, "UTC", Dst::Vixie).unwrap_err();
        let told = &refused.details().unwrap()["fields"][0];
        assert_eq!(
            (told["field"].as_str(), told["position"].as_u64()),
            (Some(field), Some(position)),
            "{expression}: {refused}"
        );
    }
    let long = format!("{} * * * *", "1,".repeat(200));
    assert!(Cron::parse(&long, "UTC", Dst::Vixie).unwrap_err().to_string().contains("at most 256"));
    for zone in ["Mars/Olympus", "Etc/Unknown", ""] {
        let refused = Cron::parse("* * * * *", zone, Dst::Vixie).unwrap_err();
        assert!(refused.to_string().contains(&format!("'{zone}'")));
    }
    assert_eq!(Cron::parse("* * * * *", "america/new_york", Dst::Vixie).unwrap().zone(), "America/New_York");
}

#[test]
fn forms_mean_what_they_say() {
    let next = |expression: &str| {
        let cron = Cron::parse(expression, "UTC", Dst::Vixie).unwrap();
        cron.next_after(instant(&Value::from("2026-02-01T00:00:00Z"))).map(s3db_format::date::rfc3339)
    };
    let cases = [
        ("0 0 LW * *", Some("2026-02-27T00:00:00.000Z")),
        ("0 0 15W * *", Some("2026-02-16T00:00:00.000Z")),
        ("0 0 31W * *", Some("2026-03-31T00:00:00.000Z")),
        ("0 0 * * 5L", Some("2026-02-27T00:00:00.000Z")),
        ("0 0 * * fri#l", Some("2026-02-27T00:00:00.000Z")),
        ("0 0 * * 7#2", Some("2026-02-08T00:00:00.000Z")),
        ("0 0 1 * +MON", Some("2026-06-01T00:00:00.000Z")),
        ("0 0 13 * FRI", Some("2026-02-06T00:00:00.000Z")),
        ("0 0 * * SAT-SUN", Some("2026-02-07T00:00:00.000Z")),
        ("0 0 ? * MON", Some("2026-02-02T00:00:00.000Z")),
        ("@midnight", Some("2026-02-02T00:00:00.000Z")),
        ("0 0 0 29 2 * 2096", Some("2096-02-29T00:00:00.000Z")),
        ("0 0 0 29 2 * 2027", None),
        ("0 0 31 2 *", None),
        ("0 0 0 1 1 * 2020", None),
    ];
    for (expression, expected) in cases {
        assert_eq!(next(expression).as_deref(), expected, "{expression}");
    }
    let possible = |expression: &str| Cron::parse(expression, "UTC", Dst::Vixie).unwrap().is_possible();
    assert!(!possible("0 0 31 2 *") && !possible("0 0 0 30 2 * 2030") && possible("0 0 0 1 1 * 2020"));
}

#[test]
fn a_day_that_a_zone_leaves_out_runs_once_at_its_end() {
    // Samoa had no 30 December 2011.
    let after = instant(&Value::from("2011-12-30T00:00:00Z"));
    let next = |dst| {
        let cron = Cron::parse("30 2 * * *", "Pacific/Apia", dst).unwrap();
        cron.iter_after(after).take(2).map(s3db_format::date::rfc3339).collect::<Vec<_>>()
    };
    assert_eq!(next(Dst::Vixie), ["2011-12-30T10:00:00.000Z", "2011-12-30T12:30:00.000Z"]);
    assert_eq!(next(Dst::Skip), ["2011-12-30T12:30:00.000Z", "2011-12-31T12:30:00.000Z"]);
}

#[test]
fn words_say_what_an_expression_means() {
    let cases = [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/7 * * * *", "at minute 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("0 * * * *", "at minute 0 of every hour"),
        ("*/10 8-18/2 * * *", "every 10 minutes of the hours 8, 10, 12, 14, 16 and 18"),
        ("*/5 * * * * *", "every 5 seconds"),
        ("*/5 30 9 * * *", "every 5 seconds of the minute 30 of the hour 9"),
        ("0 3 * * *", "at 03:00 every day"),
        ("30 9 * * MON-FRI", "at 09:30 on Monday to Friday"),
        ("0 6,18 1,15 * *", "at 06:00 and 18:00 on day 1 and 15 of the month"),
        ("0 0 13 * 5", "at 00:00 on day 13 of the month or Friday"),
        ("0 0 1 * +MON", "at 00:00 on day 1 of the month, if that is Monday"),
        ("0 12 L * *", "at 12:00 on the last day of the month"),
        ("0 12 LW * *", "at 12:00 on the last Monday-to-Friday day of the month"),
        (
            "0 12 15W,20 * *",
            "at 12:00 on day 20 of the month and the Monday-to-Friday day nearest to day 15 of the month",
        ),
        ("0 0 * * MON#2,FRI#L", "at 00:00 on the second Monday of the month and the last Friday of the month"),
        ("0 0 * JAN-MAR,DEC *", "at 00:00 every day in January to March and December"),
        ("15 30 10 1 10 * 2030-2032", "at 10:30:15 on day 1 of the month in October in 2030 to 2032"),
        ("@yearly", "at 00:00 on day 1 of the month in January"),
        ("0 0 * * 0,7", "at 00:00 on Sunday"),
        ("30 * * * * *", "at second 30 of every minute"),
        ("0 0 0 1 1 * */2", "at 00:00 on day 1 of the month in January in 1970 to 2198 in steps of 2"),
    ];
    for (expression, expected) in cases {
        assert_eq!(Cron::parse(expression, "UTC", Dst::Vixie).unwrap().explain(0, 1).text, expected, "{expression}");
    }
}

#[test]
fn notes_tell_what_a_change_of_the_clock_does() {
    let notes = |expression: &str, dst| {
        let after = instant(&Value::from("2026-01-01T00:00:00Z"));
        Cron::parse(expression, "America/New_York", dst).unwrap().explain(after, 1).notes
    };
    assert_eq!(
        notes("30 2 * * *", Dst::Vixie),
        [
            "on 2026-03-08 the clock of America/New_York goes from 02:00 to 03:00: 02:30 does not exist, it runs once at 03:00"
        ]
    );
    assert!(notes("30 2 * * *", Dst::Skip)[0].ends_with("that run is left out"));
    assert!(notes("30 1 * * *", Dst::Vixie)[0].ends_with("01:30 comes twice, it runs the first time only"));
    assert!(notes("*/30 * * * *", Dst::Vixie)[1].ends_with("01:00, 01:30 come twice, it runs both times"));
    assert!(
        notes("*/5 * * * *", Dst::Vixie)[0]
            .contains("02:00, 02:05, 02:10 and so on do not exist, it does not run then")
    );
    assert_eq!(notes("0 12 * * *", Dst::Vixie), Vec::<String>::new());
    assert!(notes("0 0 31 2 *", Dst::Vixie)[0].contains("never fires"));
    assert!(notes("0 0 0 1 1 * 2020", Dst::Vixie)[0].contains("no run from here"));
}

const ZONES: [&str; 12] = [
    "UTC",
    "America/New_York",
    "America/Sao_Paulo",
    "Europe/London",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "America/Santiago",
    "Antarctica/Troll",
    "America/Havana",
    "Pacific/Chatham",
    "Asia/Kolkata",
    "Asia/Beirut",
];

fn item(least: u16, most: u16) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        2 => (1..=most).prop_map(|step| format!("*/{step}")),
        4 => (least..=most).prop_map(|n| n.to_string()),
        2 => (least..=most, least..=most).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        2 => (least..=most, least..=most, 1..8_u16).prop_map(|(a, b, s)| format!("{}-{}/{s}", a.min(b), a.max(b))),
    ]
}

fn field(least: u16, most: u16) -> impl Strategy<Value = String> {
    proptest::collection::vec(item(least, most), 1..3).prop_map(|items| items.join(","))
}

fn expression() -> impl Strategy<Value = String> {
    let day = prop_oneof![
        4 => Just("*".to_owned()),
        4 => field(1, 31),
        1 => Just("L".to_owned()),
        1 => Just("LW".to_owned()),
        1 => (1..=31_u16).prop_map(|d| format!("{d}W")),
    ];
    let weekday = prop_oneof![
        4 => Just("*".to_owned()),
        4 => field(0, 7),
        1 => (0..=7_u16, 1..=5_u16).prop_map(|(d, n)| format!("{d}#{n}")),
        1 => (0..=7_u16).prop_map(|d| format!("{d}#L")),
        1 => field(0, 7).prop_map(|days| format!("+{days}")),
    ];
    let month = prop_oneof![3 => Just("*".to_owned()), 1 => field(1, 12)];
    (field(0, 59), field(0, 23), day, month, weekday).prop_map(|(m, h, d, mo, w)| format!("{m} {h} {d} {mo} {w}"))
}

/// An instant within a few days of a change of the clock in the zone.
fn near_a_change(zone: &TimeZone, pick: u64) -> i64 {
    let start = Timestamp::from_second(1_420_070_400 + i64::try_from(pick % 800_000_000).unwrap()).unwrap();
    let change = zone.following(start).next().map_or(start, |change| change.timestamp());
    change.as_millisecond().div_euclid(60_000) * 60_000 - i64::try_from(pick % 4).unwrap() * 86_400_000 - 3_600_000
}

/// Every minute of a few days, judged by its reading alone, with nothing of the search.
fn brute_force(parsed: &Parsed, cron: &Cron, after_ms: i64, until_ms: i64) -> Vec<i64> {
    let minute = 60_000;
    let mut found = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut at = after_ms - 26 * 60 * minute;
    let mut last_offset = None;
    while at <= until_ms {
        let zoned = Timestamp::from_millisecond(at).unwrap().to_zoned(cron.zone.clone());
        let jumped = last_offset.is_some_and(|offset: i32| zoned.offset().seconds() > offset);
        let mut due = brute_matches(parsed, &zoned);
        if cron.follows_clock() {
            // As it stands.
        } else {
            // Once for each reading.
            due = due && seen.insert(zoned.datetime());
            if jumped && cron.dst == Dst::Vixie {
                let width = zoned.offset().seconds() - last_offset.unwrap();
                let skipped = (1..=width / 60).any(|back| {
                    let reading = zoned.datetime().checked_sub(jiff::Span::new().minutes(back)).unwrap();
                    brute_matches(parsed, &reading.to_zoned(TimeZone::UTC).unwrap())
                });
                due = due || skipped;
            }
        }
        if due && at > after_ms {
            found.push(at);
        }
        last_offset = Some(zoned.offset().seconds());
        at += minute;
    }
    found
}

fn brute_matches(parsed: &Parsed, at: &Zoned) -> bool {
    let has = |field: usize, n: i8| parsed.field(field).numbers(field).contains(&u16::try_from(n).unwrap());
    let weekday = at.weekday().to_sunday_zero_offset();
    let last = at.days_in_month();
    let is_workday = |day: i8| {
        let date = at.date().with().day(day).build().unwrap();
        (1..=5).contains(&date.weekday().to_sunday_zero_offset())
    };
    let nearest = |wanted: i8| {
        let mut days: Vec<i8> = (1..=last).filter(|d| is_workday(*d) && (d - wanted).abs() <= 2).collect();
        // Saturday goes back, Sunday forward, unless that leaves the month.
        let date = at.date().with().day(wanted).build();
        let forward = date.is_ok_and(|date| date.weekday().to_sunday_zero_offset() == 0);
        days.sort_by_key(|d| ((d - wanted).abs(), if forward { -d } else { *d }));
        days.first().copied()
    };
    let day_item = |item: &parse::Item| match item {
        parse::Item::Last => at.day() == last,
        parse::Item::LastWorkday => (1..=last).rev().find(|d| is_workday(*d)) == Some(at.day()),
        parse::Item::Nearest(day) => {
            let day = i8::try_from(*day).unwrap();
            day <= last && nearest(day) == Some(at.day())
        }
        _ => false,
    };
    let weekday_item = |item: &parse::Item| match item {
        parse::Item::Nth(day, n) => {
            u16::try_from(weekday).unwrap() == *day && u16::try_from((at.day() - 1) / 7 + 1).unwrap() == *n
        }
        parse::Item::LastOf(day) => u16::try_from(weekday).unwrap() == *day && at.day() + 7 > last,
        _ => false,
    };
    let (days, weekdays) = (parsed.field(parse::DAY), parsed.field(parse::WEEKDAY));
    let day = has(parse::DAY, at.day()) || days.items.iter().any(day_item);
    let week = has(parse::WEEKDAY, weekday) || weekdays.items.iter().any(weekday_item);
    let alone = parse::Field::is_any;
    let date = match (alone(days), alone(weekdays)) {
        (true, true) => true,
        (true, false) => week,
        (false, true) => day,
        (false, false) if weekdays.and => day && week,
        (false, false) => day || week,
    };
    date && at.second() == 0
        && has(parse::MINUTE, at.minute())
        && has(parse::HOUR, at.hour())
        && has(parse::MONTH, at.month())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_minute_of_five_days_is_judged_right(text in expression(), zone in 0..ZONES.len(), pick in any::<u64>(), skip in any::<bool>()) {
        let dst = if skip { Dst::Skip } else { Dst::Vixie };
        let cron = Cron::parse(&text, ZONES[zone], dst).unwrap();
        let after = near_a_change(&cron.zone, pick);
        let until = after + 5 * 86_400_000;
        let expected = brute_force(&cron.parsed, &cron, after, until);
        let found: Vec<i64> = cron.iter_after(after).take_while(|ms| *ms <= until).collect();
        prop_assert_eq!(&found, &expected, "{} in {} from {}", text, ZONES[zone], after);
        prop_assert_eq!(cron.count_between(after, until), expected.len() as u64, "{} in {}", text, ZONES[zone]);
        if let Some(last) = expected.last() {
            prop_assert_eq!(cron.last_until(until), Some(*last));
        }
    }

    /// The library's own search in a zone is another way to the same instants, where its rule is ours: for schedules
    /// that follow the clock, and for those of one fixed time.
    #[test]
    fn a_second_implementation_agrees(text in expression(), zone in 0..ZONES.len(), pick in any::<u64>()) {
        let cron = Cron::parse(&text, ZONES[zone], Dst::Vixie).unwrap();
        let fixed = cron.search.determine_job_type() == croner::JobType::FixedTime;
        prop_assume!(cron.follows_clock() != fixed);
        let after = near_a_change(&cron.zone, pick);
        let mut theirs = Vec::new();
        let mut at = Timestamp::from_millisecond(after).unwrap().to_zoned(cron.zone.clone());
        for _ in 0..60 {
            match cron.search.find_next_occurrence(&at, false) {
                Ok(next) if next.year() < 2200 => {
                    theirs.push(next.timestamp().as_millisecond());
                    at = next;
                }
                _ => break,
            }
        }
        let ours: Vec<i64> = cron.iter_after(after).take(60).collect();
        prop_assert_eq!(ours, theirs, "{} in {} from {}", text, ZONES[zone], after);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}|[0-9A-Z*/,#?+@ \\-]{0,40}") {
        if let Ok(cron) = Cron::parse(&text, "Europe/London", Dst::Vixie) {
            let next = cron.next_after(1_767_225_600_000);
            prop_assert!(next.is_some() || !cron.explain(1_767_225_600_000, 1).notes.is_empty());
        }
    }
}

#[test]
fn years_of_outage_are_counted_at_once() {
    let cron = Cron::parse("* * * * * *", "America/New_York", Dst::Vixie).unwrap();
    let after = instant(&Value::from("2026-01-01T07:12:34Z"));
    assert_eq!(cron.count_between(after, after + 400 * 86_400_000), 400 * 86_400);
    let daily = Cron::parse("30 2 * * *", "America/New_York", Dst::Vixie).unwrap();
    assert_eq!(daily.count_between(after, after + 400 * 86_400_000), 400);
    assert_eq!(daily.count_between(after, after), 0);
    assert_eq!(daily.count_between(after, after - 1), 0);
}
