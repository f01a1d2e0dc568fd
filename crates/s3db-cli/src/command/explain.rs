//! `s3db list --explain`

use s3db::{Explanation, Query};
use serde_json::json;

use crate::args::Format;
use crate::context::{Context, Missing};
use crate::exit;
use crate::output::{Failure, Printer};

/// AWS S3 Standard in us-east-1.
const DOLLARS_PER_LIST: f64 = 0.000_005;
const DOLLARS_PER_GET: f64 = 0.000_000_4;

pub(super) async fn run(context: &mut Context, resource: &str, query: &Query) -> Result<u8, Failure> {
    let printer = context.printer()?;
    let resource = context.connect(Missing::Refuse).await?.resource(resource).await?;
    let explanation = resource.explain(query).await?;
    if printer.format != Format::Table {
        printer.one(&json!(explanation))?;
        return Ok(exit::DONE);
    }
    print(&printer, &explanation)?;
    Ok(exit::DONE)
}

fn print(printer: &Printer, e: &Explanation) -> Result<(), Failure> {
    let source = match &e.partition {
        Some(name) => format!("the keys of partition {name} under {}", values(e)),
        None if e.source == "ids" => "the ids that the filter names".to_owned(),
        None => "the keys of all records".to_owned(),
    };
    printer.line(&format!("looks at   {source}"))?;
    printer.line(&format!("keys       {}{}", at_least(e), e.keys))?;
    let filter = if e.filters_rows { "compared with each row" } else { "none is left to compare" };
    printer.line(&format!("filter     {filter}"))?;
    printer.line(&format!("order      {}", e.order))?;
    let exact = if e.exact { "exact" } else { "may include a row that is moving; --exact reads the rows" };
    printer.line(&format!("answered   from {}, {exact}", e.answer))?;
    let requests = e.requests;
    let dollars = requests.list as f64 * DOLLARS_PER_LIST + requests.get as f64 * DOLLARS_PER_GET;
    let bound = if e.more_keys { "at least" } else { "at most" };
    printer.line(&format!(
        "requests   {bound} {} LIST and {} GET in {} rounds; ${dollars:.6} on AWS S3",
        requests.list, requests.get, requests.rounds
    ))?;
    for considered in &e.considered {
        let used = if considered.used { "used" } else { "not used" };
        printer.line(&format!("partition  {}: {used}, {}", considered.partition, considered.reason))?;
    }
    e.warnings.iter().for_each(|w| printer.note(&format!("warning: {w}")));
    Ok(())
}

fn at_least(e: &Explanation) -> &'static str {
    if e.more_keys { "more than " } else { "" }
}

fn values(e: &Explanation) -> String {
    let named = e.values.iter().map(|values| {
        let pairs = values.iter().map(|(field, text)| format!("{field}={}", text.as_str().unwrap_or_default()));
        pairs.collect::<Vec<_>>().join(", ")
    });
    named.collect::<Vec<_>>().join(" or ")
}
