//! A request comes in, goes to the servers, and an answer goes back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use kes_api::body::ErrorBody;
use kes_api::message::{self, Message};
use kes_api::{Auth, Identity};
use kes_client::{Error, Passed, Relayed};
use kes_server::{FrontAnswer, FrontBody, FrontClient, Responder};
use tokio::time::timeout;

use crate::Shadow;
use crate::body;
use crate::carriers::Stranger;
use crate::exchange::{Exchange, OTHER};
use crate::plan::{Plan, Reason, Stores, Way};
use crate::room::Place;

/// How long a request may wait for its place, and its body may take to arrive: as long as a request
/// may take at a server.
const ARRIVAL: Duration = Duration::from_secs(15);

/// The header fields of a request that are passed on. No other one has a meaning for a key server,
/// and those by which a proxy tells of its client are not the client's to send.
const OF_REQUESTS: [HeaderName; 3] = [ACCEPT, CONTENT_TYPE, USER_AGENT];

/// The header fields of an answer that are passed on: all that key servers send.
const OF_ANSWERS: [HeaderName; 5] = [CONTENT_TYPE, ACCEPT, ALLOW, LOCATION, RETRY_AFTER];

impl Responder for Shadow {
    fn knows(&self, identity: &Identity) -> bool {
        self.carriers.knows(identity)
    }

    async fn respond(
        self: Arc<Self>,
        client: FrontClient,
        request: Request<Incoming>,
    ) -> FrontAnswer {
        // In a task of its own: a change that a server has begun is completed without its client.
        let served = tokio::spawn(self.serve(client, request));
        served.await.unwrap_or_else(|_| refusal(&message::INTERNAL))
    }
}

impl Shadow {
    async fn serve(
        self: Arc<Self>,
        client: FrontClient,
        request: Request<Incoming>,
    ) -> FrontAnswer {
        let (head, incoming) = request.into_parts();
        let plan = Plan::of(&head, self.stores);
        let is_open = plan.operation.is_some_and(|operation| operation.route().auth == Auth::None);
        let carried = match self.carriers.carry(&client, is_open) {
            Ok(carried) => carried,
            Err(stranger) => return self.refuse(stranger),
        };
        self.report.request(plan.operation.map_or(OTHER, kes_api::Operation::name));
        let arrival = async {
            let mut place = self.room.enter().await;
            if plan.is_large() {
                place.enlarge().await;
            }
            let body = body::read(incoming, plan.max_body(), &mut place).await;
            (place, body)
        };
        let (place, body) = match timeout(ARRIVAL, arrival).await {
            Ok((place, Ok(body))) => (place, body),
            Ok((_, Err(body::Broken))) => return self.incomplete(&plan, &message::CLIENT_GONE),
            Err(_) => return self.incomplete(&plan, &message::TIMEOUT),
        };
        let mut headers = only(&head.headers, &OF_REQUESTS);
        headers.extend(carried.headers.clone());
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let request = Passed { method: head.method, path, headers, body };
        let (is_large, way) = (plan.is_large(), plan.way);
        let Plan { operation, resource, .. } = plan;
        let exchange = Arc::new(Exchange { operation, resource, request, carried });
        match way {
            Way::Stream => self.follow(&exchange, place).await,
            Way::One(reason) => self.ask_one(exchange, reason).await,
            Way::Both => self.ask_two(exchange, is_large, place).await,
        }
    }

    /// Refuses a client that no server is asked for: as a server refuses whom it does not know.
    fn refuse(&self, stranger: Stranger) -> FrontAnswer {
        match stranger {
            Stranger::Nobody(reason) => {
                refusal(&Message { status: 400, text: reason.to_string().into() })
            }
            Stranger::Unknown(identity) => {
                self.report.stranger(identity);
                refusal(&message::NOT_AUTHORIZED)
            }
        }
    }

    /// Refuses a request that no server is asked.
    fn incomplete(&self, plan: &Plan, message: &Message) -> FrontAnswer {
        let operation = plan.operation.map_or(OTHER, kes_api::Operation::name);
        self.report.not_compared(operation, Reason::Incomplete);
        refusal(message)
    }

    /// Passes on an answer as it comes.
    async fn follow(&self, exchange: &Exchange, place: Place) -> FrontAnswer {
        self.report.not_compared(exchange.name(), Reason::OwnFigures);
        let relay = exchange.carried.relays.get(self.answers);
        let opened = relay.open(exchange.request.clone()).await;
        // A stream lasts, and holds next to nothing.
        drop(place);
        match opened {
            Ok(response) => {
                let (head, incoming) = response.into_parts();
                let headers = only(&head.headers, &OF_ANSWERS);
                FrontAnswer { status: head.status, headers, body: FrontBody::Stream(incoming) }
            }
            Err(error) => {
                self.report.no_answer(self.answers, &error);
                failure(&error)
            }
        }
    }

    /// Asks the server whose answer the client gets.
    async fn ask_one(self: Arc<Self>, exchange: Arc<Exchange>, reason: Reason) -> FrontAnswer {
        self.note_change(&exchange);
        let answer = exchange.ask(self.answers).await;
        // The time after it runs from its end.
        self.note_change(&exchange);
        let is_created = exchange.operation.is_some_and(|operation| {
            use kes_api::Operation as Op;
            matches!(operation, Op::CreateKey | Op::ImportKey)
        }) && answer.as_ref().is_ok_and(|answer| answer.status.is_success());
        let is_compared = is_created && self.stores == Stores::Shared;
        match is_compared.then(|| self.room.compare(0, false)).flatten() {
            Some(permit) => {
                tokio::spawn(Arc::clone(&self).describe_created(exchange, permit));
            }
            None => self.report.not_compared(exchange.name(), reason),
        }
        self.answer_to_client(answer).0
    }

    /// Asks both servers, and answers as soon as the one has answered whose answer it is.
    async fn ask_two(
        self: Arc<Self>,
        exchange: Arc<Exchange>,
        is_large: bool,
        place: Place,
    ) -> FrontAnswer {
        let is_unsettled = exchange
            .operation
            .is_some_and(|operation| self.changes.may_show(operation, &exchange.resource));
        if is_unsettled {
            return self.ask_one(exchange, Reason::ChangedLately).await;
        }
        let Some(permit) = self.room.compare(exchange.request.body.len(), is_large) else {
            if exchange.operation.is_some_and(|operation| operation.changes_key()) {
                // The servers have key stores of their own: what one of them deletes alone would come
                // back with the other one. It keeps its place until both have answered.
                let (shadow, of_other) = (Arc::clone(&self), Arc::clone(&exchange));
                tokio::spawn(async move {
                    let _place = place;
                    let other = shadow.answers.other();
                    shadow.answer_of(other, of_other.ask(other).await)
                });
            }
            return self.ask_one(exchange, Reason::Busy).await;
        };
        let (other, of_other) = (self.answers.other(), Arc::clone(&exchange));
        let other = tokio::spawn(async move { of_other.ask(other).await });
        let answer = exchange.ask(self.answers).await;
        let (answer, answered) = self.answer_to_client(answer);
        tokio::spawn(Arc::clone(&self).examine(exchange, answered, other, permit));
        answer
    }

    /// Notes a change of a key that the other server does not hear of.
    fn note_change(&self, exchange: &Exchange) {
        if self.stores == Stores::Shared
            && let Some(operation) = exchange.operation.filter(|operation| operation.changes_key())
        {
            self.changes.note(operation, &exchange.resource);
        }
    }

    /// What the client gets, and the answer that it is made of.
    fn answer_to_client(&self, answer: Result<Relayed, Error>) -> (FrontAnswer, Option<Relayed>) {
        match answer {
            Ok(answer) => {
                let Relayed { status, headers, body } = answer.clone();
                let headers = only(&headers, &OF_ANSWERS);
                (FrontAnswer { status, headers, body: FrontBody::Whole(body) }, Some(answer))
            }
            Err(error) => {
                self.report.no_answer(self.answers, &error);
                (failure(&error), None)
            }
        }
    }
}

/// Those of some header fields that are listed.
fn only(headers: &HeaderMap, listed: &[HeaderName]) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in listed {
        for value in headers.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// What a client is told if its server gives no answer.
fn failure(error: &Error) -> FrontAnswer {
    refusal(&match error {
        Error::Timeout { .. } => Message { status: 504, text: NO_ANSWER_IN_TIME.into() },
        _ => Message { status: 502, text: NO_ANSWER.into() },
    })
}

const NO_ANSWER: &str = "key server is not reachable";

const NO_ANSWER_IN_TIME: &str = "key server gives no answer in time";

/// An error in the contract's form.
fn refusal(message: &Message) -> FrontAnswer {
    let body = serde_json::to_vec(&ErrorBody { message: message.text.to_string() });
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    FrontAnswer {
        status: StatusCode::from_u16(message.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers,
        body: FrontBody::Whole(Bytes::from(body.unwrap_or_default())),
    }
}
