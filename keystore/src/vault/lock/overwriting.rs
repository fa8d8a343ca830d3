//! Whether the policy allows to overwrite keys. The policies that the documentation lists do not: with
//! them Vault itself refuses to write a key that exists.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kes_api::KeyName;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::super::call::{Call, Capability, write};
use super::super::fault::Fault;
use super::super::paths;
use super::CreateLock;
use crate::remote::{Field, from_json};

/// Vault is asked again this long after it has refused the question.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// When Vault refused to be asked.
#[derive(Default)]
pub(super) struct Overwriting(Mutex<Option<Instant>>);

impl CreateLock {
    /// Whether the policy may allow this server to overwrite a key. It is asked for each key, since
    /// policies may name some of them. A token without the policy `default` may not ask; it then
    /// counts as allowed.
    pub(super) async fn may_overwrite(&self, name: &KeyName) -> bool {
        let refused = *self.overwriting.0.lock();
        if refused.is_some_and(|at| at.elapsed() < ASK_AGAIN) {
            return true;
        }
        match self.capabilities(name).await {
            Ok(capabilities) => {
                let has = |capability: &str| capabilities.iter().any(|has| has == capability);
                !has("create") || has("update") || has("root")
            }
            Err(fault) => {
                if fault.status().is_some_and(|status| status.is_client_error()) {
                    *self.overwriting.0.lock() = Some(Instant::now());
                }
                true
            }
        }
    }

    /// What the policy grants on the path of a key.
    async fn capabilities(&self, name: &KeyName) -> Result<Vec<String>, Fault> {
        #[derive(Deserialize)]
        struct Answer {
            data: HashMap<String, Vec<String>>,
        }
        let path = self.engine.paths.data(name);
        let path = path.strip_prefix("/v1/").unwrap_or(&path);
        let path = percent_decode_str(path).decode_utf8_lossy();
        let question =
            write(paths::encode(&["sys/capabilities-self"]), &Field("paths", [path.as_ref()]));
        let mut call = Call { right: Capability::Update, judges_denial: true, ..question };
        call.request.repeatable = true;
        // Not waited for: a create does without it.
        let answer = self.engine.session.try_call(&call).await?;
        let mut answer: Answer = from_json(answer.body.expose())
            .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))?;
        Ok(answer.data.remove(path.as_ref()).unwrap_or_default())
    }
}
