use super::*;
use serde_json::Value;

fn policy(value: &Value, zone: &str) -> Policy {
    let mut settings = Retention::default();
    let count = |name: &str| value[name].as_i64();
    let span = |name: &str| {
        let part = |unit: &str| value[name][unit].as_i64().unwrap_or(0);
        value.get(name).map(|_| format!("{}y{}m{}d{}h", part("y"), part("m"), part("d"), part("h")))
    };
    settings.last = count("last");
    settings.hourly = count("hourly");
    settings.daily = count("daily");
    settings.weekly = count("weekly");
    settings.monthly = count("monthly");
    settings.yearly = count("yearly");
    settings.within = span("within");
    settings.within_hourly = span("within_hourly");
    settings.within_daily = span("within_daily");
    settings.within_weekly = span("within_weekly");
    settings.within_monthly = span("within_monthly");
    settings.within_yearly = span("within_yearly");
    Policy::new(&settings, super::super::ids::zone(zone).unwrap()).unwrap()
}

fn ms(text: &Value) -> i64 {
    text.as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond()
}

fn newest_first(times: &[Value]) -> Vec<i64> {
    let mut times: Vec<i64> = times.iter().map(ms).collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    times
}

#[test]
fn the_vectors_hold() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/vectors/gfs-cases.json"));
    let vectors: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let times = newest_first(case["backups"].as_array().unwrap());
        let policy = policy(&case["policy"], case["zone"].as_str().unwrap());
        let why = policy.rules(&times, ms(&case["now"]));
        let kept: Vec<(i64, Vec<String>)> = times.into_iter().zip(why).filter(|(_, why)| !why.is_empty()).collect();
        let wanted: Vec<(i64, Vec<String>)> = case["keep"]
            .as_array()
            .unwrap()
            .iter()
            .map(|k| (ms(&k["t"]), k["why"].as_array().unwrap().iter().map(|w| w.as_str().unwrap().into()).collect()))
            .collect();
        assert_eq!(kept, wanted, "{}", case["name"]);
    }
}

/// The golden policies of restic are not ours to keep; they are run where they are present.
#[test]
fn the_golden_policies_of_restic_hold_where_they_are_present() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/gfs-restic-golden.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: {path} is not there");
        return;
    };
    let golden: Value = serde_json::from_str(&text).unwrap();
    let snapshots = golden["snapshots"].as_array().unwrap();
    let mut order: Vec<usize> = (0..snapshots.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(ms(&snapshots[*at]["t"])));
    let times: Vec<i64> = order.iter().map(|at| ms(&snapshots[*at]["t"])).collect();
    let mut held = 0;
    for case in golden["cases"].as_array().unwrap() {
        if case["policy"].get("tags").is_some() {
            continue;
        }
        let why = policy(&case["policy"], "UTC").rules(&times, i64::MAX);
        let kept: Vec<usize> = order.iter().zip(&why).filter(|(_, why)| !why.is_empty()).map(|(at, _)| *at).collect();
        let wanted: Vec<usize> =
            case["keep"].as_array().unwrap().iter().map(|k| usize::try_from(k.as_u64().unwrap()).unwrap()).collect();
        let mut times_kept: Vec<i64> = kept.iter().map(|at| ms(&snapshots[*at]["t"])).collect();
        let mut times_wanted: Vec<i64> = wanted.iter().map(|at| ms(&snapshots[*at]["t"])).collect();
        times_kept.sort_unstable();
        times_wanted.sort_unstable();
        assert_eq!(times_kept, times_wanted, "{}", case["policy"]);
        held += 1;
    }
    println!("{held} policies of restic hold");
    assert!(held >= 30);
}

fn candidate(id: &str, at: &str, parent: Option<&str>) -> Candidate {
    let at_ms = at.parse::<Timestamp>().unwrap().as_millisecond();
    Candidate { id: id.into(), at_ms, parent: parent.map(str::to_owned), pinned: false, verified: false }
}

#[test]
fn buckets_follow_the_zone() {
    // 23:30 in Sao Paulo is the next day in UTC.
    let times = ["2026-03-09T02:30:00Z", "2026-03-08T12:00:00Z", "2026-03-08T02:30:00Z"];
    let times: Vec<i64> = times.iter().map(|t| t.parse::<Timestamp>().unwrap().as_millisecond()).collect();
    let daily = serde_json::json!({"daily": 2});
    let kept =
        |zone| policy(&daily, zone).rules(&times, i64::MAX).iter().map(|why| !why.is_empty()).collect::<Vec<_>>();
    assert_eq!(kept("UTC"), [true, true, false]);
    assert_eq!(kept("America/Sao_Paulo"), [true, false, true]);
}

#[test]
fn parents_newest_verified_and_pinned_ones_stay() {
    let mut list = [
        candidate("i3", "2026-11-05T00:00:00Z", Some("i2")),
        candidate("i2", "2026-11-04T00:00:00Z", Some("f1")),
        candidate("x", "2026-11-03T12:00:00Z", None),
        candidate("v", "2026-11-03T00:00:00Z", None),
        candidate("p", "2026-11-02T00:00:00Z", None),
        candidate("f1", "2026-11-01T00:00:00Z", None),
    ];
    list[3].verified = true;
    list[4].pinned = true;
    let last = serde_json::json!({"last": 1});
    let decided = policy(&last, "UTC").decide(&list, i64::MAX);
    let why = |at: usize| decided[at].reasons.join(", ");
    assert_eq!(why(0), "last, newest");
    assert_eq!(why(1), "parent of i3");
    assert_eq!(why(2), "");
    assert_eq!(why(3), "newest verified");
    assert_eq!(why(4), "pinned");
    assert_eq!(why(5), "parent of i2");
}

#[test]
fn a_span_beyond_the_calendar_keeps_all() {
    let list = [candidate("b", "2026-11-02T00:00:00Z", None), candidate("a", "2026-11-01T00:00:00Z", None)];
    for within in ["9999y", "20000y", "900000y11m", "1000000d", "1000000h"] {
        let settings = Retention { within: Some(within.into()), ..Retention::default() };
        let policy = Policy::new(&settings, TimeZone::UTC).unwrap();
        assert!(policy.decide(&list, i64::MAX).iter().all(|d| d.reasons.contains(&"within".to_owned())), "{within}");
    }
}

#[test]
fn an_empty_policy_deletes_nothing_and_wrong_ones_are_named() {
    let list = [candidate("b", "2026-11-02T00:00:00Z", None), candidate("a", "2026-11-01T00:00:00Z", None)];
    for empty in [serde_json::json!({}), serde_json::json!({"daily": 0})] {
        assert!(policy(&empty, "UTC").decide(&list, i64::MAX).iter().all(|d| !d.reasons.is_empty()));
    }
    let refused = |settings: Retention| Policy::new(&settings, TimeZone::UTC).unwrap_err().to_string();
    assert!(refused(Retention { daily: Some(-2), ..Retention::default() }).contains("retention.daily is -2"));
    for text in ["", "7", "d", "7w", "7d ", "-1d"] {
        assert!(
            refused(Retention { within: Some(text.into()), ..Retention::default() }).contains("retention.within"),
            "{text}"
        );
    }
}
