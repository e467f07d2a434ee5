use bytes::Bytes;
use http_body_util::Full;

use super::*;
use crate::telemetry::limits::Limits;

const PATIENCE: Duration = Duration::from_secs(10);

fn request(body: &str) -> Request<Full<Bytes>> {
    Request::new(Full::from(body.to_owned()))
}

fn activity() -> Rc<Activity> {
    let limits = Box::leak(Box::new(Limits::default()));
    let connections = Connections::new(usize::MAX, limits);
    Rc::clone(&connections.open(0).activity)
}

/// Looks until the verdict is not `Busy`, or two minutes have passed on the connection's clock.
fn verdict(activity: &Activity) -> (Verdict, Duration) {
    let mut passed = Duration::ZERO;
    while passed < Duration::from_secs(120) {
        passed += LOOK;
        let verdict = activity.look(LOOK, PATIENCE);
        if verdict != Verdict::Busy {
            return (verdict, passed);
        }
    }
    (Verdict::Busy, passed)
}

fn assert_too_slow(activity: &Activity) {
    let (slow, after) = verdict(activity);
    assert!(matches!(slow, Verdict::TooSlow(_)), "{slow:?}");
    assert!(after < 2 * PATIENCE, "{after:?}");
}

#[test]
fn clients_that_do_not_keep_up_are_found_and_others_left_alone() {
    let activity = activity();
    assert_eq!(verdict(&activity).0, Verdict::Idle);

    // Parked with what there is of a request, and too slow in the end.
    activity.arrived();
    assert_eq!(verdict(&activity).0, Verdict::Idle);
    assert!(activity.is_unfinished());
    // Only hyper knows what is left of a body.
    drop(activity.begin_answer(&request("body")));
    activity.set_unwritten(false);
    assert_too_slow(&activity);

    // However long an answer takes: that is not the client's fault.
    let answering = activity.begin_answer(&request(""));
    assert_eq!(verdict(&activity).0, Verdict::Busy);

    // It takes its answer in small pieces, but it takes it.
    drop(answering);
    for _ in 0..20 {
        activity.wrote(MIN_TAKEN_BYTES as usize);
        activity.untaken.set(1);
        for _ in 0..40 {
            assert_eq!(activity.look(LOOK, PATIENCE), Verdict::Busy);
        }
    }
    assert_too_slow(&activity);
}

#[test]
fn far_away_clients_that_always_have_some_of_an_answer_to_take_are_not_slow() {
    let activity = activity();
    for _ in 0..100 {
        drop(activity.begin_answer(&request("")));
        activity.wrote(300);
        activity.set_unwritten(false);
        activity.untaken.set(300); // all but the last is taken
        assert_eq!(activity.look(LOOK, PATIENCE), Verdict::Busy);
    }
}

#[test]
fn answers_of_http2_that_the_client_makes_no_room_for_are_slow_whatever_else_it_asks() {
    let activity = activity();
    activity.multiplex();
    drop(activity.begin_answer(&request("")));
    let _sending = activity.begin_sending(1000);
    let mut verdicts = (0..60).map(|_| {
        drop(activity.begin_answer(&request("")));
        activity.set_unwritten(false);
        activity.look(LOOK, PATIENCE)
    });
    assert!(verdicts.any(|verdict| matches!(verdict, Verdict::TooSlow(_))));
}

#[test]
fn a_connection_between_two_requests_is_not_parked_at_once() {
    let activity = activity();
    for _ in 0..10 {
        drop(activity.begin_answer(&request("")));
        activity.set_unwritten(false);
        assert_eq!(activity.look(LOOK, PATIENCE), Verdict::Busy);
    }
    assert_eq!(activity.look(LOOK, PATIENCE), Verdict::Idle);
}

#[test]
fn requests_of_all_sizes_leave_nothing_behind() {
    let activity = activity();
    let held = activity.held();
    for bytes in [100, 12_000, 24_000] {
        for _ in 0..1000 {
            let mut request = request("");
            let cookie = "y".repeat(bytes);
            request.headers_mut().insert("cookie", cookie.parse().unwrap());
            activity.read("GET / HTTP/1.1\r\n\r\ncookie: \r\n".len() + bytes);
            drop(activity.begin_answer(&request));
        }
        assert!(activity.held() < held + 100, "{}", activity.held());
    }
}

#[test]
fn an_answer_of_http2_that_is_taken_back_leaves_nothing_behind() {
    let activity = activity();
    activity.multiplex();
    let held = activity.held();
    for _ in 0..100 {
        let answering = activity.begin_answer(&request(""));
        let sending = activity.begin_sending(250_000);
        assert!(activity.held() > held + 250_000);
        drop((answering, sending));
    }
    activity.read(1_000_000); // PINGs, say
    activity.set_unwritten(false);
    assert_eq!(activity.held(), held + 2 * MAX_FRAMES_BYTES);
    assert_eq!(verdict(&activity).0, Verdict::Idle);
}
