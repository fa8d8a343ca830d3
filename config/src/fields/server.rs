#[cfg(test)]
use kes_api::Fingerprint;

#[cfg(test)]
use super::facts::words;
use super::{Section, section};
#[cfg(test)]
use crate::bounds::{AUDIT_FILE_AGE, AUDIT_FILE_SIZE, SNAPSHOT_AGE, SNAPSHOT_KEY};
#[cfg(test)]
use crate::{AuditContext, ClientAuth, LogFormat};

/// Where it listens, and who may do everything.
pub(super) const SERVER: Section = section! {
    "Server":
    "version": "version of the file's format";
        Value("v1"), Words(|| vec!["v1"]), "0.1.0", NoOther;
    "address": "where the API listens; `:7373` is all interfaces";
        Shown, Address, "0.1.0", Reload;
    "proxy_protocol.from":
        "load balancers that tell the address of their client by the PROXY protocol \
         ([proxies.md](proxies.md#the-proxy-protocol))";
        Required, Networks, "0.1.0", Reload;
    "operations.address":
        "listener for probes, scrapers and people without a certificate \
         ([operations.md](operations.md))";
        Required, AddressOrSocket, "0.1.0", Reload;
    "operations.tls": "whether that listener uses the server's certificate";
        Shown, Switch, "0.1.0", Reload;
    "operations.page":
        "whether it has a page for people, which shows what the server does \
         ([operations.md](operations.md#a-page-to-look-at))";
        Shown, Switch, "0.1.0", Reload;
    "operations.details":
        "whether that page shows names of keys, identities, policies, files and hosts";
        Shown, Switch, "0.1.0", Reload;
    "admin.identity": "who may do everything; what is no identity means nobody";
        Required, Admin, "0.1.0", Reload;
};

/// `tls`
pub(super) const TLS: Section = section! {
    "TLS":
    "tls.key": "private key of the server";
        Required, Path, "0.1.0", Reload;
    "tls.cert": "certificate of the server, followed by its intermediate CAs";
        Required, Path, "0.1.0", Reload;
    "tls.password": "password of an encrypted private key";
        Nothing, Text, "0.1.0", Reload;
    "tls.password_file": "file with that password, in its place";
        Nothing, Path, "0.1.0", Reload;
    "tls.auth": "whether client certificates have to be signed by a trusted CA and valid today";
        Shown, Words(|| words(ClientAuth::ALL, ClientAuth::word)), "0.1.0", Reload;
    "tls.ca": "CAs for client certificates, beside the system's";
        Nothing, Path, "0.1.0", Reload;
    "tls.proxy.identities":
        "TLS proxies that forward client certificates ([proxies.md](proxies.md))";
        Nothing, Identities, "0.1.0", Reload;
    "tls.proxy.header.cert": "header in which they do";
        Shown, HeaderName, "0.1.0", Reload;
};

/// `policy`
pub(super) const POLICIES: Section = section! {
    "Policies":
    "policy.*.allow": "paths that the policy allows";
        Nothing, Patterns, "0.1.0", Reload;
    "policy.*.deny": "paths whose power it refuses, whatever is allowed";
        Nothing, Patterns, "0.1.0", Reload;
    "policy.*.identities": "who has the policy; nobody has two";
        Nothing, Identities, "0.1.0", Reload;
    "policy.*.limits.requests_per_second": "limit of each identity of the policy";
        Words("that of `limits`"), LimitPerSecond, "0.1.0", Reload;
    "policy.*.limits.requests_at_once": "the same";
        Words("that of `limits`"), Limit, "0.1.0", Reload;
    "policy.*.limits.store_calls_per_second": "the same";
        Words("that of `limits`"), LimitPerSecond, "0.1.0", Reload;
    "policy.*.limits.overrides.*.identities": "identities of the policy that have other limits";
        Nothing, Identities, "0.1.0", Reload;
    "policy.*.limits.overrides.*.requests_per_second": "limit of each of them";
        Words("that of the policy"), LimitPerSecond, "0.1.0", Reload;
    "policy.*.limits.overrides.*.requests_at_once": "the same";
        Words("that of the policy"), Limit, "0.1.0", Reload;
    "policy.*.limits.overrides.*.store_calls_per_second": "the same";
        Words("that of the policy"), LimitPerSecond, "0.1.0", Reload;
};

/// `limits`
pub(super) const LIMITS: Section = section! {
    "Limits":
    "limits.requests_per_second": "requests that begin within a second";
        Words("not limited"), LimitPerSecond, "0.1.0", Reload;
    "limits.requests_at_once": "requests that are not answered yet";
        Words("not limited"), Limit, "0.1.0", Reload;
    "limits.store_calls_per_second":
        "calls to the key store: changes, listings and reads of keys that are not in memory";
        Words("not limited"), LimitPerSecond, "0.1.0", Reload;
};

/// `cache`
pub(super) const CACHE: Section = section! {
    "Cache":
    "cache.expiry.any":
        "a key leaves memory this long after it was read; in use it is read again before";
        Shown, Duration, "0.1.0", Reload;
    "cache.expiry.unused": "a key leaves memory this long after its last use";
        Shown, Duration, "0.1.0", Reload;
    "cache.expiry.offline":
        "during an outage all keys stay for this long in place of both; 0 makes no difference";
        Shown, Duration, "0.1.0", Reload;
    "cache.snapshot.path":
        "file with the keys that were in use, sealed, for a restart during an outage \
         ([snapshot.md](snapshot.md))";
        Required, Path, "0.1.0", Reload;
    "cache.snapshot.key": "file of 32 to 4,096 bytes that seals it";
        RequiredOr("key_text"), Path, "0.1.0", Reload;
    "cache.snapshot.key_text": "the same as a text, for a variable, in its place";
        Nothing, TextOf(SNAPSHOT_KEY), "0.1.0", Reload;
    "cache.snapshot.max_age":
        "how long a key of it is used after the key store was last known to have it";
        Shown, DurationIn(SNAPSHOT_AGE), "0.1.0", Reload;
};

/// `api`
pub(super) const APIS: Section = section! {
    "APIs":
    "api.*.skip_auth": "whether clients need neither certificate nor policy for it";
        Shown, Switch, "0.1.0", Reload;
    "api.*.timeout": "time that an answer may take; 0 is the default";
        Words("that of the API"), Duration, "0.1.0", Reload;
};

/// `log`
pub(super) const LOGS: Section = section! {
    "Logs":
    "log.error": "what the error log on standard error tells";
        Shown, Level, "0.1.0", Reload;
    "log.audit": "what the audit log on standard output tells; `debug` is every request";
        Shown, Level, "0.1.0", Reload;
    "log.format": "form of the lines of both";
        Shown, Words(|| words(LogFormat::ALL, LogFormat::word)), "0.1.0", Reload;
    "log.audit_required": "whether a key is only changed once a line about it was written";
        Shown, Switch, "0.1.0", Reload;
    "log.audit_file.path": "the audit file ([audit.md](audit.md))";
        Required, Path, "0.1.0", Reload;
    "log.audit_file.key": "file with the key of its chain";
        Nothing, Path, "0.1.0", Reload;
    "log.audit_file.max_size": "size at which a new file begins";
        Shown, Size(AUDIT_FILE_SIZE), "0.1.0", Reload;
    "log.audit_file.max_age": "age at which a new file begins";
        Shown, DurationFrom(AUDIT_FILE_AGE), "0.1.0", Reload;
    "log.audit_file.keep": "closed files that are kept; 0 is all";
        Value("0"), Count, "0.1.0", Reload;
    "log.audit_file.keep_for": "how long a closed file is kept; 0 is for ever";
        Value("0s"), Duration, "0.1.0", Reload;
    "log.audit_file.context":
        "names of buckets and objects: written, hashed with the key, or left out";
        Shown, Words(|| words(AuditContext::ALL, AuditContext::word)), "0.1.0", Reload;
};

/// `traces`
pub(super) const TRACES: Section = section! {
    "Traces":
    "traces.endpoint": "collector, by OTLP over HTTP; without a path `/v1/traces` is meant";
        Required, CollectorUrl, "0.1.0", Reload;
    "traces.headers.*": "header of each request to it; the value is a secret";
        Nothing, HeaderValue, "0.1.0", Reload;
    "traces.ca": "CAs of its certificate, in place of the system's";
        Words("those of the system"), Path, "0.1.0", Reload;
    "traces.sample":
        "share of the requests that are sampled; a known client's `traceparent` decides on its \
         own";
        Shown, Share, "0.1.0", Reload;
};

/// `keys`
pub(super) const KEYS: Section = section! {
    "Keys":
    "keys.*.name":
        "a key that is created at start and on a reload if it does not exist, unless it has a \
         fingerprint";
        Required, KeyName, "0.1.0", Reload;
    "keys.*.fingerprint":
        "[what the key must have](operate.md#pin-your-keys); without it the server does not \
         start, and it is never created";
        Nothing, Digits(2 * Fingerprint::LEN), "0.1.0", Reload;
};
