use kes_api::Operation;
use kes_api::body::{
    Api, Migration, MigrationKeys, MigrationStore, Reload, Snapshot, Status, Version,
};
use kes_api::route::ROUTES;
use kes_keystore::{PairReport, State};

use super::Call;
use crate::observe::metrics::Audience;
use crate::observe::process::Process;
use crate::service::answer::Answer;
use crate::service::error::Error;
use crate::service::reloads::Subject;

pub(super) fn version(call: &Call<'_>) -> Answer {
    let build = call.context.service.build;
    Answer::json(&Version { version: build.version.to_owned(), commit: build.commit.to_owned() })
}

pub(super) fn ready(call: &Call<'_>) -> Result<Answer, Error> {
    match call.keys().state() {
        State::Reachable { .. } => Ok(Answer::empty()),
        State::Unreachable => Err(Error::StoreUnreachable(call.keys().trouble())),
        State::Unavailable => Err(Error::StoreUnavailable(call.keys().trouble())),
    }
}

/// Answers at once from the known state of the key store: MinIO's probes do not wait for it.
pub(super) fn status(call: &Call<'_>) -> Answer {
    let process = Process::now();
    let latency = match call.keys().state() {
        State::Reachable { latency } => Some(latency),
        State::Unreachable | State::Unavailable => None,
    };
    let identity = call.context.peer.identity.ok();
    let policies = &call.context.generation.policies;
    // Not for whoever is let in without a policy (`skip_auth`).
    let may_see = policies.names(identity.as_ref(), Operation::Status);
    // These texts name files, policies and identities of others.
    let may_see_texts = identity.as_ref().is_some_and(|identity| policies.is_admin(identity));
    let last = |subject| {
        let outcome = call.context.service.reloads.last(subject).filter(|_| may_see)?;
        let (result, changes, reason) = match outcome.result {
            Ok(changes) => ("success", Some(changes), None),
            Err(reason) => ("error", None, Some(reason)),
        };
        let [changes, reason] = [changes, reason].map(|text| text.filter(|_| may_see_texts));
        Some(Reload { time: outcome.at, result: result.to_owned(), changes, reason })
    };
    let snapshot = call.keys().snapshot().filter(|_| may_see).map(|status| Snapshot {
        keys: status.keys,
        written: status.written,
        used: status.is_used,
        failed: status.fault.is_some(),
        reason: status.fault.filter(|_| may_see_texts),
    });
    Answer::json(&Status {
        version: call.context.service.build.version.to_owned(),
        os: os().to_owned(),
        arch: arch().to_owned(),
        uptime: call.context.service.started.elapsed().as_secs(),
        num_cpu: process.cpus,
        num_cpu_used: process.cpus_used,
        mem_heap_used: process.heap,
        mem_stack_used: process.stack,
        keystore_latency: latency
            .map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX).max(1)),
        keystore_unreachable: latency.is_none(),
        pinned_key_faults: call.keys().pin_faults(),
        snapshot,
        fips: cfg!(feature = "fips"),
        last_reload: last(Subject::Configuration),
        last_certificate_reload: last(Subject::Certificates),
        last_handover: last(Subject::HandOver),
        migration: call
            .keys()
            .pair()
            .filter(|_| may_see)
            .map(|report| migration(report, may_see_texts)),
    })
}

/// What is told of two key stores that are used at once.
fn migration(report: PairReport, with_texts: bool) -> Migration {
    let names = |names: Vec<kes_api::KeyName>| {
        let shown = names.iter().filter(|_| with_texts).map(ToString::to_string);
        shown.collect::<Vec<_>>()
    };
    let [old, new] = report.stores.map(|store| MigrationStore {
        place: Some(store.description).filter(|_| with_texts),
        unreachable: !matches!(store.state, State::Reachable { .. }),
        trouble: store.trouble.filter(|_| with_texts),
    });
    Migration {
        read: report.stage.read.word().to_owned(),
        write: report.stage.write.word().to_owned(),
        compare: report.stage.compare,
        old,
        new,
        keys: report.count.map(|count| MigrationKeys {
            old: count.only_old,
            new: count.only_new,
            both: count.both,
            time: count.at.into(),
            old_names: names(count.named_old),
            new_names: names(count.named_new),
        }),
        not_counted: report.uncounted.filter(|_| with_texts),
        differences: report.differences,
        differing: names(report.differing),
        second_reads: report.from_second,
        unfinished: report.unfinished,
    }
}

pub(super) fn metrics(call: &Call<'_>) -> Answer {
    let audience = Audience::of(&call.context.head.headers, call.context.head.uri.query());
    let metrics = call.context.service.metrics_text(&call.context.generation, audience);
    Answer::text(metrics.content_type, metrics.text)
}

/// The routes, with the configured time limits.
pub(super) fn apis(call: &Call<'_>) -> Answer {
    let api = |route: &kes_api::Route| Api {
        method: route.method.as_str().to_owned(),
        path: route.path.to_owned(),
        max_body: route.max_body,
        timeout: call
            .context
            .generation
            .apis
            .get(route.operation.index())
            .and_then(|api| api.timeout)
            .map_or(0, |timeout| timeout.as_secs()),
        skip_auth: call.context.generation.policies.is_exempt(route.operation),
    };
    Answer::json(&ROUTES.iter().map(api).collect::<Vec<_>>())
}

/// The name of the operating system in Go.
fn os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    }
}

/// The name of the architecture in Go.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64",
        arch => arch,
    }
}
