//! What secret fields cost: a key is derived once per salt, not once per value.

use std::sync::Arc;

use s3db::store::memory::Memory;
use s3db::{Database, Resource, ResourceDefinition};
use serde_json::json;

use crate::Outcome;
use crate::measure::{ROUNDS, Round, median, on, round};

const RECORDS: usize = 200;

pub(crate) async fn run() -> Outcome<()> {
    let memory = Arc::new(Memory::new());
    let connect = || async {
        Database::builder("memory://secrets").store(memory.clone()).passphrase("correct horse").connect().await
    };
    let db = connect().await?;
    let plain = db.create_resource(ResourceDefinition::new("plain").attribute("text", "string")).await?;
    let secret = db.create_resource(ResourceDefinition::new("secret").attribute("text", "secret")).await?;
    let foreign = db.create_resource(ResourceDefinition::new("foreign").attribute("text", "secret")).await?;
    for n in 0..RECORDS / 10 {
        // Each process has a salt of its own.
        insert(connect().await?.resource("foreign").await?, n).await?;
    }
    let mut sides: [Vec<Round>; 4] = Default::default();
    for turn in 0..ROUNDS {
        let results = [
            round(RECORDS, 1, on(&plain, turn * RECORDS, insert)).await?,
            round(RECORDS, 1, on(&secret, turn * RECORDS, insert)).await?,
            round(RECORDS, 1, on(&secret, turn * RECORDS, get)).await?,
            round(RECORDS, 1, on(&foreign, 0, |f, n| get(f, n % (RECORDS / 10)))).await?,
        ];
        for (side, result) in sides.iter_mut().zip(results) {
            side.push(result);
        }
    }
    let fresh = connect().await?.resource("foreign").await?;
    let first = round(RECORDS / 10, 1, on(&fresh, 0, get)).await?;
    let microseconds = |round: Round| 1e6 / round.per_second();
    let [plain, own, read, others] = sides.map(median);
    println!("one after another, in memory, microseconds each");
    println!("  insert without a secret          {:>10.0}", microseconds(plain?));
    println!("  insert with a secret             {:>10.0}", microseconds(own?));
    println!("  get, salt of this process        {:>10.0}", microseconds(read?));
    println!("  get, 20 foreign salts, known     {:>10.0}", microseconds(others?));
    println!(
        "  get, a foreign salt, first time  {:>10.0}   (PBKDF2, 100,000 rounds; s3db.js pays it for each value)",
        microseconds(first)
    );
    Ok(())
}

async fn insert(rows: Resource, n: usize) -> Outcome<()> {
    rows.insert(json!({"id": format!("r{n:06}"), "text": "a secret of some length"})).await?;
    Ok(())
}

async fn get(rows: Resource, n: usize) -> Outcome<()> {
    rows.get(&format!("r{n:06}")).await?;
    Ok(())
}
