use std::time::Duration;

use reqwest::Proxy;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use url::Url;

use crate::config;

/// The time limit of connecting, which takes milliseconds in a data centre.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// The kernel probes idle connections this often, so that a firewall does not forget them and a
/// host without power is noticed.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Bytes that stay unacknowledged for this long end a connection.
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(5);

/// Idle connections are closed after this time; Vault, for one, closes them after 5 minutes.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// Builds a client of HTTP/1.1 alone: with HTTP/2 all requests share one connection, and wait
/// together when that one is dead without notice. Proxies come from the configuration, not from the
/// environment. Redirects are not followed, because the token would be sent with them.
pub(super) fn build(
    tls: ClientConfig,
    proxy: Option<Proxy>,
    max_idle: usize,
) -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder().no_proxy();
    let builder = match proxy {
        Some(proxy) => builder.proxy(proxy),
        None => builder,
    };
    builder
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .tcp_keepalive_retries(3)
        .tcp_user_timeout(UNACKNOWLEDGED_LIMIT)
        .pool_idle_timeout(IDLE_LIMIT)
        .pool_max_idle_per_host(max_idle)
        .build()
}

/// The proxies of endpoints that have one.
pub(super) fn proxy(proxies: &[config::Proxy]) -> Option<Proxy> {
    let urls: Vec<(String, Url)> = proxies
        .iter()
        .filter_map(|proxy| Some((proxy.origin.clone(), proxy.url.expose().parse().ok()?)))
        .collect();
    (!urls.is_empty()).then(|| {
        Proxy::custom(move |target| {
            let origin = target.origin().ascii_serialization();
            urls.iter().find(|(of, _)| *of == origin).map(|(_, url)| url.clone())
        })
    })
}
