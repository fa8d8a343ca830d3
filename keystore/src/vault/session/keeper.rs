use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::time;

use super::super::client::Credentials;
use super::super::login::{self, Grant};
use super::{LOGIN_PAUSE, Session, Token};
use crate::jitter::jitter;

impl Session {
    /// Renews or replaces the token in time, until this future is dropped.
    pub(in crate::vault) async fn keep_token(&self) {
        let mut changes = self.token.subscribe();
        loop {
            let current = changes.borrow_and_update().clone();
            match current {
                None => self.log_in_eventually(0).await,
                Some(token) => {
                    let due = async {
                        match renewal(&token.grant) {
                            Some(at) => time::sleep_until(at.into()).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = due => self.extend(&token).await,
                        // The session outlives this loop, so the channel is open.
                        _ = changes.changed() => {}
                    }
                }
            }
        }
    }

    /// Renews a token, or replaces it.
    async fn extend(&self, token: &Arc<Token>) {
        while token.grant.renewable && self.newer_than(token.number).is_none() {
            let who = Credentials {
                token: Some(&token.grant.header),
                namespace: self.login_namespace.as_ref(),
                role: None,
            };
            match login::renew(&self.client, who).await {
                Ok(grant) if grant.ttl >= token.first_ttl / 2 => {
                    self.replace(token, grant);
                    return;
                }
                // The token is near its maximum TTL, which no renewal extends.
                Ok(_) => break,
                Err(fault) if fault.status().is_some_and(|status| status.is_client_error()) => {
                    tracing::debug!("key store: vault: token is not renewed: {fault}");
                    break;
                }
                Err(fault) => {
                    fault.note(&self.health);
                    time::sleep(jitter(LOGIN_PAUSE)).await;
                }
            }
        }
        self.log_in_eventually(token.number).await;
    }

    /// Replaces a token by its renewal, unless there is a token of another login by now.
    fn replace(&self, token: &Arc<Token>, grant: Grant) {
        let renewed = Token {
            number: token.number,
            grant,
            first_ttl: token.first_ttl,
            accepted: AtomicBool::new(token.accepted.load(Ordering::Relaxed)),
        };
        self.token.send_if_modified(|current| {
            let same = current.as_ref().is_some_and(|current| current.number == token.number);
            if same {
                *current = Some(Arc::new(renewed));
            }
            same
        });
    }

    /// Tries to log in until it succeeds.
    async fn log_in_eventually(&self, after: u64) {
        while let Err(fault) = self.log_in(after).await {
            if fault.is_unreachable() {
                // The checks of Vault's health notice its return first. But a login may fail while
                // Vault is healthy, so it is tried from time to time in any case.
                let _ = time::timeout(LOGIN_PAUSE * 2, self.health.reachable()).await;
            }
            time::sleep(jitter(LOGIN_PAUSE / 4)).await;
        }
    }
}

/// When a token is to be renewed: at 80 % of its life, or never if it does not expire.
fn renewal(grant: &Grant) -> Option<Instant> {
    (!grant.ttl.is_zero()).then(|| grant.since + grant.ttl * 4 / 5)
}
