use bytes::Bytes;
use http_body_util::Full;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

fn request(body: &str) -> Request<Full<Bytes>> {
    Request::new(Full::from(body.to_owned()))
}

fn activity() -> Rc<Activity> {
    Rc::new(Activity::new(&Rc::new(MemoryBudget::new(usize::MAX)), 0))
}

/// Checks until the verdict is not `Busy`, or two minutes have passed on the connection's clock.
fn verdict(activity: &Activity) -> (Verdict, Duration) {
    let mut passed = Duration::ZERO;
    while passed < Duration::from_secs(120) {
        passed += CHECK_INTERVAL;
        let verdict = activity.check(CHECK_INTERVAL, TIMEOUT);
        if verdict != Verdict::Busy {
            return (verdict, passed);
        }
    }
    (Verdict::Busy, passed)
}

fn assert_too_slow(activity: &Activity) {
    let (slow, after) = verdict(activity);
    assert!(matches!(slow, Verdict::TooSlow(_)), "{slow:?}");
    assert!(after < 2 * TIMEOUT, "{after:?}");
}

#[test]
fn only_slow_clients_are_too_slow() {
    let activity = activity();
    assert_eq!(verdict(&activity).0, Verdict::Idle);

    // Parked with an incomplete request, and too slow in the end.
    activity.record_unparsed();
    assert_eq!(verdict(&activity).0, Verdict::Idle);
    assert!(activity.is_incomplete());
    // A request with a body is not parked.
    drop(activity.begin_answer(&request("body")));
    activity.set_unwritten(false);
    assert_too_slow(&activity);

    // A slow answer is not the client's fault.
    let answering = activity.begin_answer(&request(""));
    assert_eq!(verdict(&activity).0, Verdict::Busy);

    // It reads its answer in small pieces, but it reads it.
    drop(answering);
    for _ in 0..20 {
        activity.record_write(MIN_READ_BYTES as usize);
        activity.memory.set_send_queue(1);
        for _ in 0..40 {
            assert_eq!(activity.check(CHECK_INTERVAL, TIMEOUT), Verdict::Busy);
        }
    }
    assert_too_slow(&activity);
}

#[test]
fn distant_clients_that_always_have_something_to_acknowledge_are_not_slow() {
    let activity = activity();
    for _ in 0..100 {
        drop(activity.begin_answer(&request("")));
        activity.record_write(300);
        activity.set_unwritten(false);
        activity.memory.set_send_queue(300); // all but the last is acknowledged
        assert_eq!(activity.check(CHECK_INTERVAL, TIMEOUT), Verdict::Busy);
    }
}

#[test]
fn an_http2_client_without_room_for_an_answer_is_slow_even_if_it_sends_requests() {
    let activity = activity();
    activity.begin_http2();
    drop(activity.begin_answer(&request("")));
    let _sending = activity.begin_sending(1000);
    let mut verdicts = (0..60).map(|_| {
        drop(activity.begin_answer(&request("")));
        activity.set_unwritten(false);
        activity.check(CHECK_INTERVAL, TIMEOUT)
    });
    assert!(verdicts.any(|verdict| matches!(verdict, Verdict::TooSlow(_))));
}

#[test]
fn a_connection_is_not_parked_immediately_after_a_request() {
    let activity = activity();
    for _ in 0..10 {
        drop(activity.begin_answer(&request("")));
        activity.set_unwritten(false);
        assert_eq!(activity.check(CHECK_INTERVAL, TIMEOUT), Verdict::Busy);
    }
    assert_eq!(activity.check(CHECK_INTERVAL, TIMEOUT), Verdict::Idle);
}

#[test]
fn requests_of_all_sizes_are_accounted_to_the_byte() {
    let activity = activity();
    let held = activity.memory.held();
    for bytes in [100, 12_000, 24_000] {
        for _ in 0..1000 {
            let mut request = request("");
            let cookie = "y".repeat(bytes);
            request.headers_mut().insert("cookie", cookie.parse().unwrap());
            activity.record_read("GET / HTTP/1.1\r\n\r\ncookie: \r\n".len() + bytes);
            drop(activity.begin_answer(&request));
        }
        assert!(activity.memory.held() < held + 100, "{}", activity.memory.held());
    }
}

#[test]
fn a_cancelled_http2_answer_is_not_accounted() {
    let activity = activity();
    activity.begin_http2();
    let held = activity.memory.held();
    for _ in 0..100 {
        let answering = activity.begin_answer(&request(""));
        let sending = activity.begin_sending(250_000);
        assert!(activity.memory.held() > held + 250_000);
        drop((answering, sending));
    }
    activity.record_read(1_000_000); // PING frames, for instance
    activity.set_unwritten(false);
    assert_eq!(activity.memory.held(), held + 2 * MAX_FRAME_BYTES);
    assert_eq!(verdict(&activity).0, Verdict::Idle);
}
