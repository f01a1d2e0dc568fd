//! `s3db get`

use s3db::Record;
use serde_json::{Value, json};

use crate::context::{Context, Missing};
use crate::exit;
use crate::output::{Failure, note};

pub(super) async fn run(context: &mut Context, resource: &str, ids: Vec<String>, meta: bool) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let resource = context.connect(Missing::Refuse).await?.resource(resource).await?;
    if let [id] = ids.as_slice() {
        let record = resource.get(id).await?;
        printer.one(&shown(&record, meta))?;
        return Ok(exit::DONE);
    }
    let found = resource.get_many(&ids).await?;
    let rows: Vec<Value> = found.iter().flatten().map(|r| shown(r, meta)).collect();
    printer.list(&rows)?;
    let missing: Vec<&str> = ids.iter().zip(&found).filter(|(_, r)| r.is_none()).map(|(id, _)| id.as_str()).collect();
    if missing.is_empty() {
        return Ok(exit::DONE);
    }
    match context.error_as_json() {
        true => {
            let message = format!("not found: {}", missing.join(", "));
            note(
                &json!({ "error": { "kind": "NotFound", "message": message, "details": { "missing": missing } } })
                    .to_string(),
            );
        }
        false => note(&format!("not found: {}", missing.join(", "))),
    }
    Ok(exit::NOT_FOUND)
}

/// A record as it is printed.
pub(super) fn shown(record: &Record, meta: bool) -> Value {
    if meta { record.to_json_with_meta() } else { record.to_json() }
}
