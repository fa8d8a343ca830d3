//! What happens to keys in memory as time goes by.
//!
//! While the key store can be reached, a key goes `any` after it was read and `unused` after it
//! was last used. While it cannot, and `offline` is set, all stay; what is still there when it
//! has been away for `offline` goes then.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use kes_keystore::{KeyStore as _, State};

use super::Cache;

/// Keeps a cache until it is dropped.
pub(in crate::keys) fn start(cache: &Arc<Cache>) {
    let interval = interval(cache);
    tokio::spawn(run(Arc::downgrade(cache), interval));
}

/// An entry may outlive its time by one interval: an eighth of the shortest time. No more often
/// than every 20 ms, so that a sweep of a million entries stays small next to the requests.
fn interval(cache: &Cache) -> Duration {
    let settings = &cache.settings;
    let shortest = [settings.any, settings.unused, settings.offline]
        .into_iter()
        .filter(|time| !time.is_zero())
        .min()
        .unwrap_or(Duration::from_secs(8));
    (shortest / 8).clamp(Duration::from_millis(20), Duration::from_secs(5))
}

async fn run(cache: Weak<Cache>, interval: Duration) {
    let mut away_since = None;
    loop {
        tokio::time::sleep(interval).await;
        let Some(cache) = cache.upgrade() else { return };
        let away = cache.store.state() == State::Unreachable;
        away_since = away.then(|| away_since.unwrap_or_else(Instant::now));
        cache.sweep(away_since);
    }
}

impl Cache {
    fn sweep(&self, away_since: Option<Instant>) {
        let now = Instant::now();
        let settings = &self.settings;
        let offline = away_since.filter(|_| !settings.offline.is_zero());
        for shard in &self.shards {
            shard.write().retain(|_, entry| {
                let used = entry.used.swap(false, Ordering::Relaxed);
                let mut last_used = entry.last_used.lock();
                if used {
                    *last_used = now;
                }
                match offline {
                    Some(since) => now.duration_since(since) < settings.offline,
                    None => {
                        now.duration_since(entry.read_at) < settings.any
                            && now.duration_since(*last_used) < settings.unused
                    }
                }
            });
        }
    }
}
