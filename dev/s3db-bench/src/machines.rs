//! Transitions in the embedded store, beside the writes that each of them is made of.

use s3db::state_machine::{MachineDefinition, State, StateMachinePlugin};
use s3db::{Database, Resource, ResourceDefinition};
use serde_json::{Value, json};

use crate::Outcome;
use crate::measure::{AT_ONCE, ROUNDS, median, on, print, round};

/// Entities that take their turns.
const ENTITIES: usize = 256;

pub(crate) async fn run(operations: usize) -> Outcome<()> {
    for (tracked, writes) in [(false, 2), (true, 4)] {
        let folder = tempfile::tempdir()?;
        let toggle = MachineDefinition::new("toggle", "off")
            .track_states(tracked)
            .state(State::new("off").on("T", "on"))
            .state(State::new("on").on("T", "off"));
        let plugin = StateMachinePlugin::builder().machine(toggle).sweep_interval(None).build()?;
        let url = format!("file:{}", folder.path().display());
        let db = Database::builder(url).plugin(plugin.clone()).connect().await?;
        let rows = db.create_resource(ResourceDefinition::new("rows").attribute("text", "string")).await?;
        for n in 0..ENTITIES {
            plugin.initialize_entity("toggle", &format!("e{n}"), Value::Null).await?;
        }
        let (mut transitions, mut inserts) = (Vec::new(), Vec::new());
        for turn in 0..ROUNDS {
            transitions.push(round(operations, AT_ONCE, on(&plugin, turn * operations, send)).await?);
            // As many writes as the transitions were made of.
            inserts.push(round(operations * writes, AT_ONCE, on(&rows, turn * operations * writes, insert)).await?);
        }
        let kind = if tracked { "tracked" } else { "untracked" };
        println!("{kind}, {AT_ONCE} at once on {ENTITIES} entities; a transition is {writes} writes");
        print("transitions", &median(transitions)?, "plain inserts", &median(inserts)?);
    }
    Ok(())
}

async fn send(machines: StateMachinePlugin, n: usize) -> Outcome<()> {
    machines.send("toggle", &format!("e{}", n % ENTITIES), "T", Value::Null).await?;
    Ok(())
}

async fn insert(rows: Resource, n: usize) -> Outcome<()> {
    rows.insert(json!({"id": format!("r{n:08}"), "text": "x".repeat(200)})).await?;
    Ok(())
}
