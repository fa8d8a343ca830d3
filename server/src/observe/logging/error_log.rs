//! The error log: turns events of `tracing` into lines.

use std::fmt::{self, Write as _};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use kes_api::Timestamp;
use kes_api::event::ErrorEvent;
use kes_config::Level;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::Logs;
use super::line::Line;

/// The most bytes of a field. The longest message of the server itself, an outage of Vault with a
/// cause for each endpoint, has some 2 KiB.
const MAX_FIELD: usize = 8 * 1024;

/// Sends the events of the process to these logs. If a process has several servers, as a test may,
/// the first one gets all events.
pub(super) fn install(logs: &Arc<Logs>) {
    let layer = ErrorLog(Arc::downgrade(logs));
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
}

struct ErrorLog(Weak<Logs>);

impl ErrorLog {
    fn level(&self) -> i32 {
        let logs = self.0.upgrade();
        logs.map_or(i32::MAX, |logs| logs.error_level.load(Ordering::Relaxed))
    }
}

impl<S: Subscriber> Layer<S> for ErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Events of libraries are left out: an HTTP client logs Vault's answers, which hold keys.
        metadata.is_event()
            && metadata.target().starts_with("kes")
            && number(*metadata.level()) >= self.level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.level() {
            level if level > Level::ERROR.number() => LevelFilter::OFF,
            level if level > Level::WARN.number() => LevelFilter::ERROR,
            level if level > Level::INFO.number() => LevelFilter::WARN,
            level if level > Level::DEBUG.number() => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(logs) = self.0.upgrade() else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);

        let (whole, public) = fields.messages();
        let level = *event.metadata().level();
        let mut line = Line::new(logs.json(), Timestamp::now(), level.as_str());
        line.field_within(MAX_FIELD, "msg", &whole);
        for (name, value) in &fields.others {
            line.field_within(MAX_FIELD, name, value);
        }
        logs.stderr.line(priority(level), line.finish());
        logs.metrics.error_events.inc();

        if logs.error_stream.is_followed() {
            match public {
                Some(public) if public == whole => {
                    logs.error_stream.send(&stream_line(whole));
                }
                public => {
                    let public = public.map(|public| stream_line(public.to_owned()));
                    logs.error_stream.send_apart(&stream_line(whole), public.as_ref());
                }
            }
        }
    }
}

/// A line for clients that follow the log.
fn stream_line(mut message: String) -> Bytes {
    message.truncate(message.floor_char_boundary(MAX_FIELD));
    let mut line = serde_json::to_vec(&ErrorEvent { message: message.into() }).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

fn number(level: tracing::Level) -> i32 {
    match level {
        tracing::Level::ERROR => Level::ERROR.number(),
        tracing::Level::WARN => Level::WARN.number(),
        tracing::Level::INFO => Level::INFO.number(),
        _ => Level::DEBUG.number(),
    }
}

/// RFC 5424, 6.2.1.
fn priority(level: tracing::Level) -> u8 {
    match level {
        tracing::Level::ERROR => 3,
        tracing::Level::WARN => 4,
        tracing::Level::INFO => 6,
        _ => 7,
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    /// What the message is about that names files, policies or identities of the configuration. Of
    /// those who follow the log, the admin alone is sent it, as with the last reload in the status;
    /// without a message, nobody else is sent anything.
    detail: Option<String>,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    /// The whole message, and what others than the admin may read of it.
    fn messages(&self) -> (String, Option<&str>) {
        match &self.detail {
            None => (self.message.clone(), Some(&self.message)),
            Some(detail) if self.message.is_empty() => (detail.clone(), None),
            Some(detail) => (format!("{}: {detail}", self.message), Some(&self.message)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else if field.name() == "detail" {
            self.detail = Some(format!("{value:?}"));
        } else {
            self.others.push((field.name(), format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
