//! A bucket beside the bare SDK that sends the same requests to the same server.

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use s3db::{Database, Location, Query, Resource, ResourceDefinition};
use serde_json::json;

use crate::Outcome;
use crate::measure::{AT_ONCE, ROUNDS, Round, median, on, print, round};

const KIB: usize = 1_000;
/// Rows of a list.
const LISTED: usize = 1_000;
/// Lists in a round.
const LISTS: usize = 8;

#[derive(Clone)]
struct Bare {
    client: Client,
    bucket: String,
    prefix: String,
}

pub(crate) async fn run(url: &str, operations: usize) -> Outcome<()> {
    let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let bare = connect(url, &format!("bare-{stamp}"))?;
    let db = Database::connect(format!("{}/bench-{stamp}", url.trim_end_matches('/'))).await?;
    let rows = db.create_resource(ResourceDefinition::new("rows").attribute("text", "string")).await?;
    let listed = db.create_resource(ResourceDefinition::new("listed").attribute("text", "string")).await?;
    round(LISTED, AT_ONCE, on(&listed, 0, insert)).await?;
    round(LISTED, AT_ONCE, on(&bare, 0, |bare, n| bare.put(format!("listed/{n:08}")))).await?;
    let mut sides: [Vec<Round>; 6] = Default::default();
    for turn in 0..ROUNDS {
        let at = turn * operations;
        let results = [
            round(operations, AT_ONCE, on(&rows, at, insert)).await?,
            round(operations, AT_ONCE, on(&bare, at, |bare, n| bare.put(format!("rows/{n:08}")))).await?,
            round(operations, AT_ONCE, on(&rows, at, get)).await?,
            round(operations, AT_ONCE, on(&bare, at, |bare, n| bare.get(format!("rows/{n:08}")))).await?,
            round(LISTS, 1, on(&listed, 0, |rows, _| list(rows))).await?,
            round(LISTS, 1, on(&bare, 0, |bare, _| bare.list("listed/".into()))).await?,
        ];
        for (side, result) in sides.iter_mut().zip(results) {
            side.push(result);
        }
    }
    println!("{url}: records of 1 KB, {AT_ONCE} requests at once", url = s3db::mask(url));
    let [our_puts, puts, our_gets, gets, our_lists, lists] = sides.map(median);
    print("insert: 1 PUT, If-None-Match", &our_puts?, "bare SDK", &puts?);
    print("get: 1 GET", &our_gets?, "bare SDK", &gets?);
    print("list of 1,000 rows: 1 LIST, 1,000 GET", &our_lists?, "bare SDK", &lists?);
    Ok(())
}

async fn insert(rows: Resource, n: usize) -> Outcome<()> {
    rows.insert(json!({"id": format!("{n:08}"), "text": "x".repeat(KIB)})).await?;
    Ok(())
}

async fn get(rows: Resource, n: usize) -> Outcome<()> {
    rows.get(&format!("{n:08}")).await?;
    Ok(())
}

async fn list(rows: Resource) -> Outcome<()> {
    match rows.list(&Query::all()).await?.items.len() {
        LISTED => Ok(()),
        other => Err(format!("{other} rows").into()),
    }
}

fn connect(url: &str, prefix: &str) -> Outcome<Bare> {
    let Location::Bucket(location) = Location::parse(url, std::path::Path::new("."))? else {
        return Err("the URL names no bucket".into());
    };
    let (key, secret) = location.credentials.clone().ok_or("the URL names no credentials")?;
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .credentials_provider(Credentials::new(key, secret, None, None, "url"))
        .region(Region::new(location.region.clone().unwrap_or_else(|| "us-east-1".into())))
        .retry_config(RetryConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(true);
    if let Some(endpoint) = &location.endpoint {
        config = config.endpoint_url(endpoint);
    }
    Ok(Bare { client: Client::from_conf(config.build()), bucket: location.name.clone(), prefix: prefix.to_owned() })
}

impl Bare {
    /// What our insert sends: the value in a header, a token in the body.
    async fn put(self, key: String) -> Outcome<()> {
        let put = self.client.put_object().bucket(&self.bucket).key(format!("{}/{key}", self.prefix));
        let put = put.metadata("0", "x".repeat(KIB)).metadata("_v", "v0").if_none_match("*");
        put.content_type("application/json").body(Bytes::from_static(&[b'r'; 64]).into()).send().await?;
        Ok(())
    }

    async fn get(self, key: String) -> Outcome<()> {
        let got = self.client.get_object().bucket(&self.bucket).key(format!("{}/{key}", self.prefix)).send().await?;
        got.body.collect().await?;
        Ok(())
    }

    async fn list(self, prefix: String) -> Outcome<()> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(format!("{}/{prefix}", self.prefix));
        let page = list.send().await?;
        let from = self.prefix.len() + 1;
        let keys = page.contents().iter().filter_map(|object| Some(object.key()?.get(from..)?.to_owned()));
        let gets = stream::iter(keys.collect::<Vec<String>>()).map(|key| self.clone().get(key));
        let got: Vec<()> = gets.buffered(AT_ONCE).try_collect().await?;
        if got.len() == LISTED { Ok(()) } else { Err(format!("{} objects", got.len()).into()) }
    }
}
