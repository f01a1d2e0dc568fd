//! The client of the AWS SDK, set up for every kind of server.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::S3Options;
use super::wire::Wire;

/// The region where nothing names another.
const REGION: &str = "us-east-1";

pub(super) async fn connect(options: &S3Options, wire: &Wire) -> Client {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .pool_idle_timeout(Duration::from_secs(20))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(options.connect_timeout)
        .operation_attempt_timeout(options.request_timeout)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http).timeout_config(timeouts);
    match (&options.region, &options.credentials) {
        (Some(region), _) => loader = loader.region(Region::new(region.clone())),
        // Named credentials come without the region of some profile.
        (None, Some(_)) => loader = loader.region(Region::new(REGION)),
        (None, None) => {}
    }
    if let Some((key, secret)) = &options.credentials {
        loader = loader.credentials_provider(Credentials::new(key, secret, None, None, "url"));
    }
    let shared = loader.load().await;
    let stalled =
        StalledStreamProtectionConfig::enabled().upload_enabled(false).grace_period(options.request_timeout).build();
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(stalled)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .time_source(wire.clone())
        .interceptor(wire.clone());
    if shared.region().is_none() {
        config = config.region(Region::new(REGION));
    }
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(endpoint);
    }
    if options.path_style {
        config = config.force_path_style(true);
    }
    Client::from_conf(config.build())
}
