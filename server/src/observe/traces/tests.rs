use std::collections::HashSet;

use http::Request;
use kes_config::{SecretText, Traces};
use kes_testkit::faulty::{Faulty, Reply};
use kes_testkit::wait::eventually_async;
use serde_json::{Value, json};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn tracer(url: &str, sample: f64) -> (Tracer, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let headers = vec![("authorization".to_owned(), SecretText::new("s3cret".to_owned()))];
    let traces = Traces { endpoint: url.parse().unwrap(), headers, ca: None, sample };
    let collector = Collector::new(&traces).unwrap();
    (Tracer::start(collector, sample, Kind::new(&"fs"), &metrics), metrics)
}

fn head() -> Parts {
    Request::put("/v1/key/generate/marked").body(()).unwrap().into_parts().0
}

fn headers(flags: &str) -> HeaderMap {
    let value = format!("00-{TRACE}-b7ad6b7169203331-{flags}");
    HeaderMap::from_iter([("traceparent".parse().unwrap(), value.parse().unwrap())])
}

/// Makes the span of a request.
fn serve(tracer: &Tracer, is_of_stranger: bool, number: u64) {
    if let Some(trace) = tracer.begin(&HeaderMap::new(), is_of_stranger, number) {
        trace.end(Operation::GenerateKey, &head(), 200, Duration::from_millis(1));
    }
}

/// All spans that a collector was sent.
fn spans(collector: &Faulty) -> Vec<Value> {
    let bodies = collector.requests().into_iter();
    let bodies = bodies.map(|request| serde_json::from_slice::<Value>(&request.body).unwrap());
    let spans = bodies.flat_map(|body| {
        body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
    });
    spans.collect()
}

/// Waits until so many spans were taken.
async fn exported(metrics: &Metrics, count: u64) {
    let what = format!("{count} spans are taken");
    eventually_async(PATIENCE, &what, || async { metrics.traces.exported.get() == count }).await;
}

fn takes_all() -> Faulty {
    Faulty::start(|_| Reply::json(200, json!({})))
}

#[test]
fn the_queue_has_its_size_in_bytes() {
    assert!(size_of::<Span>() <= 128, "{}", size_of::<Span>());
    let bytes = QUEUE * size_of::<Span>();
    assert!((QUEUE_BYTES - 128..=QUEUE_BYTES).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_call_is_below_its_request_and_that_below_its_client() {
    let collector = takes_all();
    let (tracer, metrics) = tracer(&collector.url(), 0.0);
    let trace = tracer.begin(&headers("01"), false, 1).unwrap();
    let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for is_shared in [false, true] {
        trace.call_ended(&StoreCall {
            span: trace.call_begins(),
            operation: "read",
            result: "ok",
            is_failure: false,
            is_shared,
            began,
            took: Duration::from_nanos(7),
        });
    }
    trace.end(Operation::GenerateKey, &head(), 200, Duration::from_secs(1));
    exported(&metrics, 3).await;

    let [first, second, request] = &spans(&collector)[..] else { panic!() };
    assert_eq!(request["parentSpanId"], "b7ad6b7169203331");
    for span in [first, second, request] {
        assert_eq!(span["traceId"], TRACE);
    }
    for call in [first, second] {
        assert_eq!(call["parentSpanId"], request["spanId"]);
        assert_ne!(call["spanId"], request["spanId"]);
        assert_eq!(call["startTimeUnixNano"], "1000000000");
        assert_eq!(call["endTimeUnixNano"], "1000000007");
    }
    assert_ne!(first["spanId"], second["spanId"]);
    let time = |end: &str| request[end].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(time("endTimeUnixNano") - time("startTimeUnixNano"), 1_000_000_000);
}

#[tokio::test]
async fn a_known_client_decides_and_a_stranger_does_not() {
    let (none, _) = tracer("http://127.0.0.1:1", 0.0);
    let (all, _) = tracer("http://127.0.0.1:1", 1.0);
    let is_sampled = |tracer: &Tracer, headers: &HeaderMap, is_of_stranger| {
        tracer.begin(headers, is_of_stranger, 1).is_some()
    };
    assert!(is_sampled(&none, &headers("01"), false));
    assert!(!is_sampled(&none, &headers("01"), true));
    assert!(!is_sampled(&none, &HeaderMap::new(), false));
    assert!(!is_sampled(&all, &headers("00"), false));
    assert!(is_sampled(&all, &headers("00"), true));
    let of_stranger = all.begin(&headers("01"), true, 1).unwrap();
    assert!(format!("{:032x}", of_stranger.ids.trace) != TRACE && of_stranger.ids.parent.is_none());
}

#[tokio::test]
async fn the_share_of_requests_is_sampled_that_the_configuration_says() {
    for (share, range) in
        [(0.0, 0..=0), (0.01, 50..=150), (0.5, 4_500..=5_500), (1.0, 10_000..=10_000)]
    {
        let (tracer, _) = tracer("http://127.0.0.1:1", share);
        let sampled =
            (0..10_000).filter(|number| tracer.begin(&HeaderMap::new(), false, *number).is_some());
        let count = sampled.count();
        assert!(range.contains(&count), "{count} of {share}");
    }
}

#[test]
fn ids_differ() {
    let mut seen = HashSet::new();
    for numbers in [Numbers::new(), Numbers::new()] {
        for number in 0..10_000 {
            assert!(seen.insert(numbers.trace(number)));
            assert!(seen.insert(numbers.number(Use::Request, number).into()));
            assert!(seen.insert(numbers.call().into()));
        }
    }
}

#[tokio::test]
async fn spans_without_room_are_dropped_and_strangers_fill_half() {
    // Nothing takes from the queue until this test lets other tasks run.
    let collector = takes_all();
    let (tracer, metrics) = tracer(&collector.url(), 1.0);
    let (most, overflowed) = (u64::try_from(QUEUE).unwrap(), || metrics.traces.overflowed.get());
    (0..most).for_each(|number| serve(&tracer, true, number));
    assert_eq!(overflowed(), most - most.div_ceil(2));
    (0..most).for_each(|number| serve(&tracer, false, number));
    assert_eq!(overflowed(), most);
    exported(&metrics, most).await;
    assert_eq!(spans(&collector).len(), QUEUE);
    tracer.end().await;
    // What comes after the end is dropped as well.
    serve(&tracer, false, 0);
    assert_eq!(overflowed(), most + 1);
}

#[tokio::test]
async fn spans_are_sent_again_to_a_collector_that_is_busy() {
    let asked = AtomicU64::new(0);
    let collector = Faulty::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::json(503, json!({})),
        _ => Reply::json(200, json!({ "partialSuccess": { "rejectedSpans": "1" } })),
    });
    let (tracer, metrics) = tracer(&collector.url(), 1.0);
    serve(&tracer, false, 1);
    serve(&tracer, false, 2);
    eventually_async(PATIENCE, "they are taken", || async {
        metrics.traces.exported.get() == 1 && metrics.traces.rejected.get() == 1
    })
    .await;
    let [first, second] = &collector.requests()[..] else { panic!() };
    assert_eq!(first.body, second.body);
    assert_eq!((metrics.traces.unsent.get(), metrics.traces.overflowed.get()), (0, 0));
}

#[tokio::test]
async fn an_end_takes_its_time_and_no_longer() {
    for reply in [Reply::Hang, Reply::json(500, json!({}))] {
        let collector = Faulty::start(move |_| reply.clone());
        let (tracer, metrics) = tracer(&collector.url(), 1.0);
        (0..1_000).for_each(|number| serve(&tracer, false, number));
        let ended = tokio::time::timeout(PATIENCE, tracer.end()).await;
        assert!(ended.is_ok());
        assert_eq!((metrics.traces.unsent.get(), metrics.traces.exported.get()), (1_000, 0));
    }
}

#[tokio::test]
async fn spans_are_sent_after_the_last_user_of_a_configuration_has_gone() {
    let collector = takes_all();
    let (tracer, metrics) = tracer(&collector.url(), 1.0);
    let next = tracer.going_on(Kind::new(&"vault"));
    serve(&tracer, false, 1);
    drop(tracer);
    serve(&next, false, 2);
    drop(next);
    exported(&metrics, 2).await;
}

#[test]
fn any_method_is_one_of_few_words() {
    for (given, expected) in [("PUT", "PUT"), ("get", "_OTHER"), ("MARKED", "_OTHER")] {
        assert_eq!(method(&given.parse().unwrap()), expected);
    }
}
