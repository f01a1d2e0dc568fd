//! Resources in which plugins keep rows of their own.

use s3db_format::resource::{Behavior, ResourceDefinition};
use s3db_format::update::ResourceUpdate;

use crate::database::Database;
use crate::error::{Error, ErrorKind, Result};
use crate::resource::Resource;

/// What such a resource has to have.
pub(super) struct Shape<'a> {
    /// Its name where it has to be made; one that is there may have another.
    pub(super) name: &'a str,
    /// Attributes with their rules.
    pub(super) attributes: &'a [(&'a str, &'a str)],
    /// How many of them, from the first, one made by s3db.js has: without these it is another resource.
    pub(super) known: usize,
    /// What it is said not to be where it is another one.
    pub(super) what: &'a str,
    /// The setting that names it.
    pub(super) setting: &'a str,
}

/// The resource of rows, made where there is none yet, extended where it lacks attributes.
pub(super) async fn ready(db: &Database, there: Option<Resource>, shape: &Shape<'_>) -> Result<Resource> {
    let Some(resource) = there else { return make(db, shape).await };
    let definition = resource.definition().await?;
    let lacks = |attribute: &str| attribute != "id" && !definition.attributes.contains_key(attribute);
    if let Some((missing, _)) = shape.attributes.iter().take(shape.known).find(|(attribute, _)| lacks(attribute)) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("resource '{}' is not {}: it has no attribute '{missing}'", resource.name(), shape.what),
        )
        .guide(format!("name another one by {}", shape.setting)));
    }
    let missing: Vec<_> = shape.attributes.iter().filter(|(attribute, _)| lacks(attribute)).collect();
    if !missing.is_empty() {
        let update = missing.iter().fold(ResourceUpdate::new(), |update, (a, rule)| update.attribute(*a, *rule));
        db.update_resource(resource.name(), update).await?;
    }
    Ok(resource)
}

async fn make(db: &Database, shape: &Shape<'_>) -> Result<Resource> {
    let mut definition = ResourceDefinition::new(shape.name).behavior(Behavior::BodyOverflow);
    for (attribute, rule) in shape.attributes {
        definition = definition.attribute(*attribute, *rule);
    }
    match db.create_resource(definition).await {
        // Another process made it just now.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => db.resource(shape.name).await,
        made => made,
    }
}
