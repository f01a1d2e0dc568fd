//! Records with rules, a secret and a partition.
//!
//!     cargo run -p s3db --example quickstart
#![allow(clippy::print_stdout, reason = "an example prints")]

use s3db::{Database, Query, ResourceDefinition};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, Serialize, Deserialize)]
struct User {
    id: String,
    name: String,
    country: String,
    password: String,
}

#[tokio::main]
async fn main() -> s3db::Result<()> {
    let db = Database::builder("memory://quickstart").passphrase("correct horse battery staple").connect().await?;
    let definition = ResourceDefinition::new("users")
        .attribute("name", "string|min:2|max:100")
        .attribute("country", "string|length:2")
        .attribute("password", "secret|min:8")
        .partition("byCountry", [("country", "string")]);
    db.create_resource(definition).await?;

    let users = db.resource_as::<User>("users").await?;
    for (id, name, country) in [("ana", "Ana", "BR"), ("ben", "Ben", "DE"), ("davi", "Davi", "BR")] {
        let user = User { id: id.into(), name: name.into(), country: country.into(), password: format!("{id}-s3cret") };
        users.insert(&user).await?;
    }
    users.update("ben", json!({"country": "BR"})).await?;

    let brazil = Query::all().partition("byCountry", json!({"country": "BR"}));
    for user in users.list(&brazil).await?.items {
        println!("{} lives in {}", user.value.name, user.value.country);
    }

    let error = users.dynamic().insert(json!({"name": "E", "country": "Brazil"})).await.err();
    println!("refused: {}", error.map(|e| e.to_string()).unwrap_or_default());
    Ok(())
}
