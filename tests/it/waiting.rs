//! Every wait of the tests, so that none lasts for ever: each has a deadline, and one that waits in vain fails with what it waited for.
//!
//! A test can hang without waiting here, so there is a limit for a whole test too; the test harness of Rust has none. A test is known
//! by its thread, which the harness names after it, from its first command, database or wait on. One thread of the process looks at
//! all of them. If one takes longer than its limit, the thread says which one it is and what it waited for, and ends the process.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// Longer than anything takes that a test waits for, on a slow machine that does other work too. Nothing waits for it to pass.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Another limit, in seconds.
pub(crate) const LIMIT_VARIABLE: &str = "TEST_LIMIT_SECONDS";

/// Between two looks at a condition: looks without a pause would keep the processes busy that are to bring it about.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

// ---- Waits ----

/// The result of what a test waits for.
pub(crate) fn in_time<T, F: Future<Output = T>>(what: &str, awaited: F) -> impl Future<Output = T> + use<T, F> {
    within(DEADLINE, what, awaited)
}

/// The same where a test says how long it may take.
///
/// What is awaited goes to the heap: a run is large where it is not optimised, and one within another would not fit on the stack.
pub(crate) fn within<T, F: Future<Output = T>>(limit: Duration, what: &str, awaited: F) -> impl Future<Output = T> + use<T, F> {
    let (what, awaited) = (what.to_owned(), Box::pin(awaited));
    async move {
        let wait = Wait::new(&what);
        let waited = tokio::time::timeout(limit, awaited).await;
        waited.unwrap_or_else(|_| wait.in_vain(limit))
    }
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    eventually_within(DEADLINE, what, condition).await;
}

/// The same where a test says how long it may take.
pub(crate) async fn eventually_within(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    };
    within(limit, what, holds).await;
}

/// Waits for the end of a process whose output nobody reads, and says with which code.
pub(crate) async fn ended(process: &mut Child) -> Option<i32> {
    ended_within(DEADLINE, process).await
}

/// The same where a test says how long it may take.
pub(crate) async fn ended_within(limit: Duration, process: &mut Child) -> Option<i32> {
    let what = format!("the end of process {}", process.id());
    let mut code = None;
    let has_ended = async || {
        let status = process.try_wait().unwrap();
        code = status.and_then(|status| status.code());
        status.is_some()
    };
    eventually_within(limit, &what, has_ended).await;
    code
}

/// How a process ended, if it did in time.
pub(crate) async fn ended_in_time(limit: Duration, process: &mut Child) -> Option<ExitStatus> {
    let _wait = Wait::new(&format!("the end of process {}", process.id()));
    let ended = async {
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    };
    tokio::time::timeout(limit, ended).await.ok()
}

// ---- Waits that block their thread ----

/// Waits until a condition holds.
pub(crate) fn blocked_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let (wait, deadline) = (Wait::new(what), Instant::now() + limit);
    while !condition() {
        if Instant::now() > deadline {
            wait.in_vain(limit);
        }
        std::thread::sleep(LOOK_AGAIN_AFTER);
    }
}

/// How a process ended that ends soon.
pub(crate) fn status_of(process: &mut Child, what: &str) -> ExitStatus {
    blocked_until(DEADLINE, what, || process.try_wait().unwrap().is_some());
    process.try_wait().unwrap().unwrap()
}

/// Waits for the end of a process, and for what it has written to its pipes.
pub(crate) fn output_of(process: Child, what: &str) -> Output {
    let wait = Wait::new(what);
    let id = process.id();
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(process.wait_with_output()));
    let output = ended.recv_timeout(DEADLINE).unwrap_or_else(|_| {
        kill("KILL", &id.to_string());
        wait.in_vain(DEADLINE)
    });
    output.unwrap()
}

/// Ends a process that is needed no more, and does not leave it to the system as a dead one.
pub(crate) fn end(process: &mut Child) {
    let _ = process.kill();
    let deadline = Instant::now() + DEADLINE;
    // It is called where a test fails too, which may not fail once more.
    while process.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a thread of the test came to; its panic, if it panicked.
pub(crate) fn joined<T>(thread: JoinHandle<T>, what: &str) -> T {
    blocked_until(DEADLINE, what, || thread.is_finished());
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The next message of a channel; a test fails if nobody can send one any more.
pub(crate) fn next_of<T>(messages: &Receiver<T>, what: &str) -> T {
    let message = next_by(Instant::now() + DEADLINE, messages, what);
    message.unwrap_or_else(|error| panic!("waited {DEADLINE:?} at most in vain for {what}: {error}"))
}

/// The same for a test that has more to say about one that does not come.
pub(crate) fn next_by<T>(deadline: Instant, messages: &Receiver<T>, what: &str) -> Result<T, RecvTimeoutError> {
    let _wait = Wait::new(what);
    messages.recv_timeout(deadline.saturating_duration_since(Instant::now()))
}

/// The lines of a pipe as they come. Somebody reads it to its end, so that who writes into it is never held up.
pub(crate) fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

// ---- The limit of a test ----

struct RunningTest {
    name: String,
    begun: Instant,
    limit: Duration,
    /// What it waits for now, by number: parts of a test may wait side by side.
    waits: Vec<(u64, String)>,
    last_wait: Option<String>,
}

static RUNNING: LazyLock<Mutex<HashMap<ThreadId, RunningTest>>> = LazyLock::new(Mutex::default);

/// Files with the process ids of servers that would outlive this process.
static SERVERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A test that runs on this thread; with the thread ends the test.
struct Registration(Option<ThreadId>);

thread_local! {
    static REGISTRATION: Registration = Registration::of_this_thread();
    static NUMBER_OF_WAITS: Cell<u64> = const { Cell::new(0) };
}

impl Registration {
    fn of_this_thread() -> Registration {
        static WATCHDOG: Once = Once::new();
        let thread = std::thread::current();
        // The threads of a runtime have names too, and what a test has spawned there has a deadline of its own.
        let Some(name) = thread.name().filter(|name| !name.starts_with("tokio-")) else { return Registration(None) };
        let limit = std::env::var(LIMIT_VARIABLE).map_or(LIMIT, |seconds| Duration::from_secs_f64(seconds.parse().unwrap()));
        let test = RunningTest { name: name.to_owned(), begun: Instant::now(), limit, waits: Vec::new(), last_wait: None };
        locked(&RUNNING).insert(thread.id(), test);
        WATCHDOG.call_once(|| _ = std::thread::spawn(watch));
        Registration(Some(thread.id()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(thread) = self.0 {
            locked(&RUNNING).remove(&thread);
        }
    }
}

/// Does something with the test of this thread, if it has one.
fn with_this_test<T>(act: impl FnOnce(&mut RunningTest) -> T) -> Option<T> {
    let thread = REGISTRATION.try_with(|registration| registration.0).ok().flatten()?;
    locked(&RUNNING).get_mut(&thread).map(act)
}

/// From now on the test of this thread has a limit.
pub(crate) fn limit_this_test() {
    with_this_test(|test| {
        // With --test-threads=1 all tests run on this thread, and this is another one of them.
        if test.name == "main" {
            test.begun = Instant::now();
        }
    });
}

/// A test that is known to take long says how long it may.
pub(crate) fn this_test_may_take(limit: Duration) {
    limit_this_test();
    with_this_test(|test| test.limit = limit);
}

/// A server that has to end with this process, by the file in which it writes its process id.
pub(crate) fn ends_with_the_tests(pid_file: PathBuf) {
    locked(&SERVERS).push(pid_file);
}

/// A test waits for something as long as this is kept.
pub(crate) struct Wait {
    of: Option<ThreadId>,
    number: u64,
    what: String,
}

impl Wait {
    pub(crate) fn new(what: &str) -> Wait {
        limit_this_test();
        let number = NUMBER_OF_WAITS.replace(NUMBER_OF_WAITS.get() + 1);
        let of = with_this_test(|test| {
            test.waits.push((number, what.to_owned()));
            test.last_wait = Some(what.to_owned());
        });
        Wait { of: of.map(|()| std::thread::current().id()), number, what: what.to_owned() }
    }

    fn in_vain(&self, limit: Duration) -> ! {
        let others: Vec<String> = self.with_test(RunningTest::waited_for).unwrap_or_default();
        let others = others.iter().filter(|other| **other != self.what).map(|other| format!("; and for {other}"));
        panic!("waited {limit:?} in vain for {}{}", self.what, others.collect::<String>())
    }

    fn with_test<T>(&self, act: impl FnOnce(&mut RunningTest) -> T) -> Option<T> {
        locked(&RUNNING).get_mut(&self.of?).map(act)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.with_test(|test| test.waits.retain(|(number, _)| *number != self.number));
    }
}

impl RunningTest {
    fn waited_for(&mut self) -> Vec<String> {
        self.waits.iter().map(|(_, what)| what.clone()).collect()
    }

    /// What to tell of a test that has run for too long.
    fn overdue(&self) -> Option<String> {
        if self.begun.elapsed() < self.limit {
            return None;
        }
        let waits: Vec<&str> = self.waits.iter().map(|(_, what)| what.as_str()).collect();
        let waits = match (waits.as_slice(), &self.last_wait) {
            ([], None) => "it has not waited for anything yet".to_owned(),
            ([], Some(last)) => format!("it does not wait now; the last time it waited for {last}"),
            _ => format!("it waits for {}", waits.join(", and for ")),
        };
        let (name, limit) = (&self.name, self.limit);
        Some(format!("test {name} takes longer than it may ({limit:?}): {waits}\n"))
    }
}

/// Ends the process when a test has run for too long.
fn watch() {
    loop {
        let overdue: Vec<String> = locked(&RUNNING).values().filter_map(RunningTest::overdue).collect();
        if !overdue.is_empty() {
            // Written past what the harness keeps back of a test that has not ended yet.
            let _ = std::io::stderr().write_all(format!("\n{}", overdue.concat()).as_bytes());
            end_what_was_started();
            std::process::exit(101);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Ends the commands and the servers of the tests, which would go on.
fn end_what_was_started() {
    let children = Command::new("pgrep").args(["-P", &std::process::id().to_string()]).output();
    let children = children.map(|listed| String::from_utf8_lossy(&listed.stdout).into_owned()).unwrap_or_default();
    children.lines().for_each(|process| kill("KILL", process));
    for file in locked(&SERVERS).iter() {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if let Some(process) = text.lines().next() {
            // One that stands still hears nothing before it goes on.
            kill("CONT", process);
            // It ends its own processes, and does not wait for its clients.
            kill("QUIT", process);
        }
    }
}

fn kill(signal: &str, process: &str) {
    let _ = Command::new("kill").args([&format!("-{signal}"), process]).output();
}
