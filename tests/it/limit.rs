//! The limits of the tests themselves: a wait in vain, and a test that hangs, say what they waited for.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::not_tested;
use crate::waiting::{LIMIT_VARIABLE, eventually, eventually_within, output_of, this_test_may_take, within};

const NEVER: &str = "something that never comes";

#[tokio::test]
#[should_panic(expected = "waited 20ms in vain for something that never comes")]
async fn a_wait_in_vain_fails_with_what_it_waited_for() {
    within(Duration::from_millis(20), NEVER, std::future::pending::<()>()).await;
}

#[tokio::test]
#[should_panic(expected = "waited 20ms in vain for something that never comes")]
async fn a_condition_that_never_holds_fails_its_test() {
    eventually_within(Duration::from_millis(20), NEVER, async || false).await;
}

/// Hangs; [`a_test_that_hangs_ends_the_run_and_is_named`] starts it in a process of its own.
#[tokio::test]
#[ignore = "hangs, for the test of the limit"]
async fn hangs() {
    if std::env::var_os(LIMIT_VARIABLE).is_none() {
        return not_tested("it would hang: it is for another test, which sets a limit", None);
    }
    let wait = async { within(Duration::from_secs(600), NEVER, std::future::pending::<()>()).await };
    let other = within(Duration::from_secs(600), "something else", std::future::pending::<()>());
    tokio::join!(wait, other);
}

/// The same without a wait that anybody knows of.
#[test]
#[ignore = "hangs, for the test of the limit"]
fn hangs_and_does_not_say_for_what() {
    if std::env::var_os(LIMIT_VARIABLE).is_none() {
        return not_tested("it would hang: it is for another test, which sets a limit", None);
    }
    crate::waiting::limit_this_test();
    loop {
        std::thread::park(); // No wait of a test: the limit ends it.
    }
}

/// How this binary ends, and what it says, that runs one of the tests that are ignored otherwise, with a limit of a second.
fn with_a_limit_of_a_second(test: &str) -> (Option<i32>, String) {
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["--ignored", "--exact"]).arg(test).env(LIMIT_VARIABLE, "1");
    let output = output_of(tests.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), "the tests that hang");
    (output.status.code(), String::from_utf8(output.stderr).unwrap().trim().to_owned())
}

#[test]
fn a_test_that_hangs_ends_the_run_and_is_named() {
    let (code, said) = with_a_limit_of_a_second("limit::hangs");
    let expected =
        "test limit::hangs takes longer than it may (1s): it waits for something that never comes, and for something else";
    assert_eq!((code, said.as_str()), (Some(101), expected));

    let (code, said) = with_a_limit_of_a_second("limit::hangs_and_does_not_say_for_what");
    let expected =
        "test limit::hangs_and_does_not_say_for_what takes longer than it may (1s): it has not waited for anything yet";
    assert_eq!((code, said.as_str()), (Some(101), expected));
}

/// Takes two seconds, and has said that it may.
#[tokio::test]
#[ignore = "takes its time, for the test of the limit"]
async fn takes_long_and_says_so() {
    this_test_may_take(Duration::from_secs(60));
    let begun = Instant::now();
    eventually("two seconds to pass", async || begun.elapsed() > Duration::from_secs(2)).await;
}

#[test]
fn a_test_that_is_known_to_take_long_has_a_limit_of_its_own() {
    assert_eq!(with_a_limit_of_a_second("limit::takes_long_and_says_so"), (Some(0), String::new()));
}
