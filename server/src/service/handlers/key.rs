use std::pin::Pin;

use kes_api::Operation;
use kes_api::body::{
    self, DecryptRequest, DescribeKey, EncryptRequest, GenerateRequest, HmacRequest, ImportRequest,
};
use kes_keys::{Description, LastUse};
use zeroize::Zeroizing;

use super::{Call, page};
use crate::service::answer::Answer;
use crate::service::change;
use crate::service::error::Error;

pub(super) async fn create(call: Call<'_>) -> Result<Answer, Error> {
    let name = call.key_name()?;
    change::announce(call.context).await?;
    call.keys().create(&call.permit, name, || change::begin(call.context)).await?;
    change::confirm(call.context).await?;
    Ok(Answer::empty())
}

pub(super) async fn import(mut call: Call<'_>) -> Result<Answer, Error> {
    let name = call.key_name()?;
    let request = call.parse(ImportRequest::from_json, Error::ImportBody).await?;
    let begin = || change::begin(call.context);
    let (cipher, key) = (&request.cipher, request.key.expose());
    change::announce(call.context).await?;
    call.keys().import(&call.permit, name, cipher, key, begin).await?;
    change::confirm(call.context).await?;
    Ok(Answer::empty())
}

pub(super) async fn describe(call: Call<'_>) -> Result<Answer, Error> {
    let name = call.key_name()?;
    let key = call.keys().describe(&call.permit, name).await?;
    let last_use = last_use(&call, &key);
    Ok(Answer::json(&DescribeKey {
        name: name.to_string(),
        algorithm: key.cipher.name().to_owned(),
        created_at: key.created_at,
        created_by: key.created_by,
        fingerprint: Some(key.fingerprint.to_string()),
        last_used_at: last_use.and_then(|last| last.at),
        last_used_by: last_use.and_then(|last| last.by).map(|identity| identity.to_string()),
        uses_known_since: last_use.map(|last| last.since),
    }))
}

/// When a key was last used, for a caller whose policy lets it delete the key.
fn last_use(call: &Call<'_>, key: &Description) -> Option<LastUse> {
    let path = format!("{}{}", Operation::DeleteKey.route().path, call.context.target.resource());
    let (policies, identity) = (&call.context.generation.policies, call.permit.identity());
    let permit = policies.permit(identity.as_ref(), Operation::DeleteKey, &path).ok()?;
    call.keys().last_use(&permit, key).ok()
}

pub(super) async fn delete(call: Call<'_>) -> Result<Answer, Error> {
    let name = call.key_name()?;
    change::announce(call.context).await?;
    call.keys().delete(&call.permit, name, || change::begin(call.context)).await?;
    change::confirm(call.context).await?;
    Ok(Answer::empty())
}

pub(super) async fn list(call: Call<'_>) -> Result<Answer, Error> {
    let pattern = call.pattern()?;
    let keys = call.keys();
    keys.check_list(&call.permit, &pattern)?;
    // Boxed, as all futures that wait for the key store: the future of a request is as large as the
    // largest of its branches, and is moved several times.
    let make = async |limit| {
        let page: Pin<Box<dyn Future<Output = _> + Send + '_>> =
            Box::pin(keys.list(&call.permit, &pattern, limit));
        Ok(page.await?)
    };
    Box::pin(page::shared_answer(&pattern, &call.permit, make)).await
}

pub(super) async fn generate(mut call: Call<'_>) -> Result<Answer, Error> {
    let name = call.key_name()?;
    // An empty body is a request without a context.
    let parse = |body: &[u8]| match body {
        [] => Ok(GenerateRequest::default()),
        body => GenerateRequest::from_json(body),
    };
    let request = call.parse(parse, Error::Body).await?;
    call.context.note_objects([request.context.expose()]);
    let key = call.keys().generate(&call.permit, name, request.context.expose()).await?;
    Ok(Answer::secret_json(body::generate_json(key.plaintext.expose(), &key.ciphertext)))
}

pub(super) async fn encrypt(mut call: Call<'_>) -> Result<Answer, Error> {
    let name = call.key_name()?;
    let EncryptRequest { plaintext, context } =
        call.parse(EncryptRequest::from_json, Error::Body).await?;
    call.context.note_objects([context.expose()]);
    let plaintext = Zeroizing::new(plaintext.into_inner());
    let ciphertext = call.keys().encrypt(&call.permit, name, plaintext, context.expose()).await?;
    let encode = || Answer::json_text(body::ciphertext_json(&ciphertext));
    Ok(Answer::encode(ciphertext.len(), encode).await)
}

pub(super) async fn decrypt(mut call: Call<'_>) -> Result<Answer, Error> {
    let name = call.key_name()?;
    let request = call.parse(DecryptRequest::from_json, Error::Body).await?;
    let (ciphertext, context) = (request.ciphertext.expose(), request.context.expose());
    call.context.note_objects([context]);
    let plaintext = call.keys().decrypt(&call.permit, name, ciphertext, context).await?;
    let encode = || Answer::secret_json(body::plaintext_json(plaintext.expose()));
    Ok(Answer::encode(plaintext.expose().len(), encode).await)
}

/// All or nothing: one ciphertext that is not authentic fails the request.
pub(super) async fn bulk_decrypt(mut call: Call<'_>) -> Result<Answer, Error> {
    let name = call.key_name()?;
    let requests = call.parse(body::bulk_decrypt_from_json, Error::Body).await?;
    call.context.note_objects(requests.iter().map(|request| request.context.expose()));
    let plaintexts = call.keys().bulk_decrypt(&call.permit, name, &requests, parts).await?;
    Ok(Answer::secret_json(body::plaintexts_json(
        plaintexts.iter().map(|plaintext| plaintext.expose()),
    )))
}

fn parts(request: &DecryptRequest) -> (&[u8], &[u8]) {
    (request.ciphertext.expose(), request.context.expose())
}

pub(super) async fn hmac(mut call: Call<'_>) -> Result<Answer, Error> {
    let name = call.key_name()?;
    let request = call.parse(HmacRequest::from_json, Error::Body).await?;
    let hmac = call.keys().hmac(&call.permit, name, request.message.expose()).await?;
    Ok(Answer::json_text(body::hmac_json(&hmac)))
}
