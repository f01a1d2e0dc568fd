//! `s3db resource …`

use s3db::{Behavior, Database, ReindexProgress, ReindexReport, ResourceDefinition, ResourceUpdate};
use serde_json::{Map, Value, json};

use crate::args::{Format, ResourceCommand};
use crate::context::{Context, Missing};
use crate::exit;
use crate::input;
use crate::output::Failure;
use crate::progress::Progress;

pub(super) async fn run(context: &mut Context, command: ResourceCommand) -> Result<u8, Failure> {
    match command {
        ResourceCommand::List => list(context).await,
        ResourceCommand::Show { name } => show(context, &name).await,
        ResourceCommand::Create { name, attributes, behavior, timestamps, not_paranoid, partitions } => {
            let mut definition = ResourceDefinition::new(name).timestamps(timestamps).paranoid(!not_paranoid);
            definition.attributes = attributes_of(&attributes)?;
            if let Some(word) = behavior {
                definition.behavior = behavior_of(&word)?;
            }
            definition.partitions = partitions_of(&partitions)?;
            create(context, definition).await
        }
        ResourceCommand::Update {
            name,
            attributes,
            remove_attributes,
            behavior,
            timestamps,
            no_timestamps,
            paranoid,
            not_paranoid,
            partitions,
            remove_partitions,
            no_index,
        } => {
            let mut update = ResourceUpdate::new();
            for (name, definition) in attributes.map_or_else(|| Ok(Map::new()), |a| attributes_of(&a))? {
                update = update.attribute(name, definition);
            }
            for (name, partition) in partitions_of(&partitions)? {
                let fields = partition.get("fields").and_then(Value::as_object).into_iter().flatten();
                update =
                    update.partition(name, fields.filter_map(|(path, rule)| Some((path.as_str(), rule.as_str()?))));
            }
            update = remove_attributes.into_iter().fold(update, ResourceUpdate::remove_attribute);
            update = remove_partitions.into_iter().fold(update, ResourceUpdate::remove_partition);
            if let Some(word) = behavior {
                update = update.behavior(behavior_of(&word)?);
            }
            if timestamps || no_timestamps {
                update = update.timestamps(timestamps);
            }
            if paranoid || not_paranoid {
                update = update.paranoid(paranoid);
            }
            change(context, &name, update, !no_index).await
        }
        ResourceCommand::Reindex { name } => reindex(context, &name).await,
        ResourceCommand::Drop { name, yes } => drop(context, &name, yes).await,
    }
}

async fn list(context: &mut Context) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let db = context.connect(Missing::Refuse).await?;
    let mut rows = Vec::new();
    for name in db.resource_names().await? {
        let entry = db.resource(&name).await?.catalog_entry().await?;
        let current = entry.current();
        let partitions: Vec<&str> = entry.partitions().iter().map(|p| p.name.as_str()).collect();
        rows.push(json!({
            "name": name,
            "version": current.name,
            "behavior": current.behavior.word(),
            "attributes": current.attributes.len(),
            "partitions": partitions,
        }));
    }
    printer.list(&rows)?;
    Ok(exit::DONE)
}

async fn show(context: &mut Context, name: &str) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let db = context.connect(Missing::Refuse).await?;
    printer.one(&described(&db, name).await?)?;
    Ok(exit::DONE)
}

/// A definition with its version, as `show` and `create` print it.
async fn described(db: &Database, name: &str) -> Result<Value, Failure> {
    let entry = db.resource(name).await?.catalog_entry().await?;
    let mut value = json!(entry.current().definition(name));
    if let Some(members) = value.as_object_mut() {
        members.insert("version".into(), json!(entry.current().name));
        members.insert("hash".into(), json!(entry.current().hash));
        if !entry.problems().is_empty() {
            let problems: Vec<String> = entry.problems().iter().map(ToString::to_string).collect();
            members.insert("readOnly".into(), json!(problems));
        }
    }
    Ok(value)
}

async fn create(context: &mut Context, definition: ResourceDefinition) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let db = context.connect(Missing::Create).await?;
    let name = definition.name.clone();
    db.create_resource(definition).await?;
    match printer.format {
        Format::Table => printer.note(&format!("resource '{name}' is ready; next: s3db insert {name} '{{…}}'")),
        Format::Json | Format::Jsonl => printer.one(&described(&db, &name).await?)?,
    }
    Ok(exit::DONE)
}

async fn change(context: &mut Context, name: &str, update: ResourceUpdate, index: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let db = context.connect(Missing::Refuse).await?;
    let waiting = Progress::start("waiting until readers forget the index of a partition", context.quiet());
    let report = db.update_resource(name, update).await?;
    std::mem::drop(waiting);
    let mut result = described(&db, name).await?;
    let mut indexed = Value::Null;
    if index && !report.to_index.is_empty() {
        indexed = json!(build_index(context, &db, name).await?);
    }
    if printer.format == Format::Table {
        let what = if report.changed { "is now at" } else { "was already so, at" };
        printer.line(&format!("resource '{name}' {what} version {}", report.version))?;
        if !index && !report.to_index.is_empty() {
            printer.note(&format!(
                "{} scanned until `s3db resource reindex {name}`",
                match report.to_index.as_slice() {
                    [one] => format!("partition {one} is"),
                    several => format!("partitions {} are", several.join(", ")),
                }
            ));
        }
        return Ok(exit::DONE);
    }
    if let Some(members) = result.as_object_mut() {
        members.insert("changed".into(), json!(report.changed));
        members.insert("indexed".into(), indexed);
    }
    printer.one(&result)?;
    Ok(exit::DONE)
}

async fn reindex(context: &mut Context, name: &str) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let db = context.connect(Missing::Refuse).await?;
    let report = build_index(context, &db, name).await?;
    printer.one(&json!(report))?;
    Ok(exit::DONE)
}

async fn build_index(context: &mut Context, db: &Database, name: &str) -> Result<ReindexReport, Failure> {
    let printer = context.printer()?;
    let progress = Progress::start("records", context.quiet());
    let told = |what: ReindexProgress| match what {
        ReindexProgress::Waiting(time) => {
            printer.note(&format!("waiting {} s, until every running writer knows the partition", time.as_secs()));
        }
        ReindexProgress::Records(done) => progress.set(done as u64),
        _ => {}
    };
    Ok(db.resource(name).await?.reindex(&told).await?)
}

async fn drop(context: &mut Context, name: &str, yes: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let db = context.connect(Missing::Refuse).await?;
    if !yes {
        let count = db.resource(name).await?.count().await?;
        return Err(Failure::usage(
            format!("this would remove resource '{name}' with its {count} records"),
            format!("add --yes: s3db resource drop {name} --yes"),
        ));
    }
    printer.one(&json!(db.drop_resource(name).await?))?;
    Ok(exit::DONE)
}

fn attributes_of(argument: &str) -> Result<Map<String, Value>, Failure> {
    match input::json(argument, "--attributes")? {
        Value::Object(attributes) => Ok(attributes),
        _ => Err(Failure::input("--attributes is no JSON object", "write '{\"name\": \"string|min:2\"}', or @FILE")),
    }
}

fn partitions_of(arguments: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut partitions = Map::new();
    for partition in arguments {
        let (name, fields) = partition_of(partition)?;
        if partitions.insert(name.clone(), json!({ "fields": fields })).is_some() {
            return Err(Failure::usage(
                format!("the partition '{name}' is given twice"),
                "give all its fields at once, as in --partition byPlace=country,city",
            ));
        }
    }
    Ok(partitions)
}

fn behavior_of(word: &str) -> Result<Behavior, Failure> {
    Behavior::from_word(word).ok_or_else(|| {
        let words = Behavior::ALL.map(Behavior::word);
        let hint = s3db::did_you_mean(word, words).unwrap_or_else(|| format!("behaviours: {}", words.join(", ")));
        Failure::usage(format!("'{word}' is no behaviour"), hint)
    })
}

/// `NAME=FIELD[:RULE][,FIELD[:RULE]…]`; a rule without a type word is a string's.
fn partition_of(text: &str) -> Result<(String, Map<String, Value>), Failure> {
    let wrong = || {
        Failure::usage(
            format!("'{text}' is no partition"),
            "write NAME=FIELD[:RULE][,FIELD[:RULE]…], as in byDay=createdAt:date|maxlength:10",
        )
    };
    let (name, fields) = text.split_once('=').ok_or_else(wrong)?;
    let mut found = Map::new();
    for field in fields.split(',') {
        let (path, rule) = field.split_once(':').unwrap_or((field, "string"));
        if name.is_empty() || path.is_empty() || rule.is_empty() {
            return Err(wrong());
        }
        found.insert(path.to_owned(), json!(rule));
    }
    Ok((name.to_owned(), found))
}
