use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use agent::protocol::{Exec, Failure, FailureKind, Frame, MAX_DATA, read_frame, write_frame};

use super::*;
use crate::ErrorKind;
use crate::command::{Close, Connection, Guest, Incoming};
use crate::error::{Error, Repr};
use crate::event::{Event, Events};
use crate::testing::{Heard, heard};

/// A guest whose agent serves each command on a thread, as `serve` says.
/// Reaching it takes a while.
struct FakeGuest(Arc<Serve>, Duration);

type Serve = dyn Fn(&mut UnixStream, Exec) + Send + Sync;

impl fmt::Debug for FakeGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeGuest")
    }
}

impl Guest for FakeGuest {
    fn connect(&self) -> Result<Box<dyn Connection>, Error> {
        thread::sleep(self.1);
        let (host, mut guest) = UnixStream::pair().unwrap();
        let serve = Arc::clone(&self.0);
        thread::spawn(move || {
            if let Ok(Some(Frame::Exec(exec))) = read_frame(&mut guest) {
                serve(&mut guest, exec);
            }
        });
        Ok(Box::new(host))
    }

    fn listen(&self) -> Result<Arc<dyn Incoming>, Error> {
        Err(no_ports())
    }

    fn close_at_end(&self, _: Weak<dyn Close>) -> Result<(), Error> {
        Err(no_ports())
    }

    fn explain(&self, error: Error) -> Error {
        error
    }
}

/// Tasks are commands, and open nothing else.
fn no_ports() -> Error {
    let what = "a guest for commands alone";
    Repr::AgentConfused { what }.into()
}

/// What ran in a guest, and what its owner was told.
struct Bed {
    board: Arc<Board>,
    runner: Option<Runner>,
    events: Arc<Events>,
    heard: Heard,
}

impl Bed {
    fn run(
        tasks: impl IntoIterator<Item = Task>,
        serve: impl Fn(&mut UnixStream, Exec) + Send + Sync + 'static,
    ) -> Self {
        Self::reach(tasks, Duration::ZERO, serve)
    }

    fn reach(
        tasks: impl IntoIterator<Item = Task>,
        takes: Duration,
        serve: impl Fn(&mut UnixStream, Exec) + Send + Sync + 'static,
    ) -> Self {
        let tasks: Vec<Task> = tasks.into_iter().collect();
        check(&tasks).unwrap();
        let board = Arc::new(Board::new(tasks));
        let (events, heard) = heard();
        let events = Arc::new(events);
        let guest = Arc::new(FakeGuest(Arc::new(serve), takes));
        let runner = Some(Runner::start(&board, guest, Arc::clone(&events), "m"));
        Self {
            board,
            runner,
            events,
            heard,
        }
    }

    fn states(&self) -> Vec<TaskState> {
        self.board
            .wait()
            .into_iter()
            .map(|status| status.state)
            .collect()
    }

    /// Those that the owner was told of, when there is nothing more to tell.
    fn told(mut self) -> Vec<String> {
        self.runner = None;
        let told = self.heard.so_far(&self.events).into_iter();
        let mut names: Vec<_> = told
            .map(|event| match event {
                Event::TaskEnded { status } => status.name,
                other => panic!("{other:?}"),
            })
            .collect();
        names.sort();
        names
    }
}

fn script(name: &str, needs: &[&str]) -> Task {
    Task::script(name, name).needs(needs.iter().copied())
}

fn exit(stream: &mut UnixStream, code: i32) {
    let status = agent::protocol::ExitStatus::Code(code);
    drop(write_frame(stream, &Frame::Exit(status)));
}

fn refusal(tasks: &[Task]) -> String {
    let error = check(tasks).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    error.to_string()
}

#[test]
fn circles_unknown_needs_and_doubles_are_refused() {
    let circle = [
        script("free", &[]),
        script("a", &["b"]),
        script("b", &["c", "free"]),
        script("c", &["a"]),
        script("behind", &["c"]),
    ];
    let text = refusal(&circle);
    assert!(
        text.contains("\"a\"") && text.contains("\"c\"") && !text.contains("free"),
        "{text}"
    );
    assert!(refusal(&[script("a", &["a"])]).contains("\"a\""));
    assert!(refusal(&[script("a", &["nobody"])]).contains("nobody"));
    assert!(refusal(&[script("a", &[]), script("a", &[])]).contains("twice"));
    check(&[script("late", &["early"]), script("early", &[])]).unwrap();
}

#[test]
fn tasks_that_are_none_are_refused() {
    for name in ["", "A", "a.b", "../x", "a b", &"a".repeat(33)] {
        assert!(refusal(&[Task::script(name, "true")]).contains("task"));
    }
    refusal(&[Task::script("a", "")]);
    refusal(&[Task::script("a", "\0")]);
    refusal(&[Task::script("a", "x".repeat(200_000))]);
    refusal(&[Task::command("a", Vec::<String>::new())]);
    refusal(&[Task::command("a", [""])]);
    refusal(&[Task::script("a", "x").timeout(Duration::ZERO)]);
    refusal(&[Task::script("a", "x").user("a b")]);
    refusal(&[Task::script("a", "x").env("A=", "b")]);
    let many: Vec<Task> = (0..257)
        .map(|n| Task::script(format!("t{n}"), "x"))
        .collect();
    assert!(refusal(&many).contains("256"));
}

#[test]
fn needs_come_first_and_the_rest_runs_side_by_side() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let begun = Arc::clone(&order);
    let tasks = [
        script("d", &["b", "c"]),
        script("b", &["a"]),
        script("c", &["a"]),
        script("a", &[]),
    ];
    // Each of b and c ends only when the other has begun.
    let bed = Bed::run(tasks, move |stream, exec| {
        let name = exec.args[1].clone();
        begun.lock().unwrap().push(name.clone());
        let is_middle = name == "b" || name == "c";
        loop {
            let both = begun.lock().unwrap();
            if !is_middle || both.contains(&"b".to_owned()) && both.contains(&"c".to_owned()) {
                break;
            }
            drop(both);
            thread::sleep(Duration::from_millis(1));
        }
        exit(stream, 0);
    });
    assert_eq!(bed.states(), vec![TaskState::Done; 4]);
    let order = order.lock().unwrap().clone();
    assert_eq!((order[0].as_str(), order[3].as_str()), ("a", "d"));
    assert_eq!(bed.told(), ["a", "b", "c", "d"]);
}

#[test]
fn no_more_than_four_run_at_a_time() {
    let count = Arc::new(Mutex::new((0, 0)));
    let counting = Arc::clone(&count);
    let tasks = (0..12).map(|number| Task::script(format!("t{number}"), "x"));
    let bed = Bed::run(tasks, move |stream, _| {
        let running = {
            let mut count = counting.lock().unwrap();
            count.0 += 1;
            count.1 = count.1.max(count.0);
            count.0
        };
        assert!(running <= 4);
        thread::sleep(Duration::from_millis(20));
        counting.lock().unwrap().0 -= 1;
        exit(stream, 0);
    });
    assert_eq!(bed.states(), vec![TaskState::Done; 12]);
    assert_eq!(count.lock().unwrap().1, 4);
}

#[test]
fn what_needs_a_task_that_failed_is_skipped() {
    let tasks = [
        script("bad", &[]),
        script("next", &["bad"]),
        script("last", &["next"]),
        script("other", &[]),
        script("refused", &[]),
    ];
    let bed = Bed::run(tasks, |stream, exec| match exec.args[1].as_str() {
        "bad" => {
            drop(write_frame(stream, &Frame::Stdout(b"out ".to_vec())));
            drop(write_frame(stream, &Frame::Stderr(b"err".to_vec())));
            exit(stream, 3);
        }
        "refused" => {
            let failure = Failure {
                kind: FailureKind::NotFound,
                message: "no sh".to_owned(),
            };
            drop(write_frame(stream, &Frame::Failed(failure)));
        }
        _ => exit(stream, 0),
    });
    let states = bed.states();
    assert_eq!(states[0], TaskState::Failed(ExitStatus::Code(3)));
    let skipped = |need: &str| TaskState::Skipped { need: need.into() };
    assert_eq!(states[1..3], [skipped("bad"), skipped("next")]);
    assert_eq!(states[3], TaskState::Done);
    assert!(states[4].to_string().contains("no sh"), "{}", states[4]);
    assert_eq!(bed.board.statuses()[0].output, b"out err");
    assert_eq!(bed.told(), ["bad", "last", "next", "other", "refused"]);
}

#[test]
fn a_task_that_takes_too_long_is_killed() {
    let tasks = [
        script("slow", &[]).timeout(Duration::from_millis(50)),
        script("after", &["slow"]),
    ];
    let begun = Instant::now();
    let bed = Bed::run(tasks, |stream, _| {
        // Until the host hangs up.
        drop(read_frame(stream));
    });
    assert_eq!(bed.states()[0], TaskState::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_was_done_before_is_a_success_and_every_start_asks_for_nothing() {
    let tasks = [
        script("old", &[]),
        script("next", &["old"]).at_every_start(),
    ];
    let bed = Bed::run(tasks, |stream, exec| match exec.once {
        Some(once) => {
            assert_eq!((once.task.as_str(), once.machine.as_str()), ("old", "m"));
            let failure = Failure {
                kind: FailureKind::DoneBefore,
                message: String::new(),
            };
            drop(write_frame(stream, &Frame::Failed(failure)));
        }
        None => exit(stream, 0),
    });
    assert_eq!(bed.states(), [TaskState::DoneBefore, TaskState::Done]);
}

#[test]
fn the_time_of_a_task_begins_before_its_guest_is_reached() {
    let step = Duration::from_millis(200);
    let task = script("slow", &[]).timeout(step + step / 4);
    let bed = Bed::reach([task], step, move |stream, _| {
        thread::sleep(step);
        exit(stream, 0);
    });
    assert_eq!(bed.states(), [TaskState::TimedOut]);
}

#[test]
fn a_flood_leaves_its_end_and_an_agent_that_hangs_up_is_told() {
    let tasks = [
        script("flood", &[]),
        script("liar", &[]),
        script("gone", &[]),
    ];
    let bed = Bed::run(tasks, |stream, exec| match exec.args[1].as_str() {
        "flood" => {
            for _ in 0..100 {
                drop(write_frame(stream, &Frame::Stdout(vec![b'x'; MAX_DATA])));
            }
            drop(write_frame(stream, &Frame::Stderr(b"the end".to_vec())));
            exit(stream, 0);
        }
        "liar" => drop(write_frame(stream, &Frame::Thawed)),
        _ => {}
    });
    let states = bed.states();
    assert_eq!(states[0], TaskState::Done);
    assert!(
        matches!(states[1], TaskState::Broken { .. }),
        "{}",
        states[1]
    );
    assert!(
        matches!(states[2], TaskState::Broken { .. }),
        "{}",
        states[2]
    );
    let output = &bed.board.statuses()[0].output;
    assert_eq!(output.len(), 16 << 10);
    assert!(output.ends_with(b"xthe end"));
}

#[test]
fn the_end_of_a_session_ends_its_tasks() {
    let tasks = [script("runs", &[]), script("waits", &["runs"])];
    let mut bed = Bed::run(tasks, |stream, _| drop(read_frame(stream)));
    while bed.board.statuses()[0].state != TaskState::Running {
        thread::sleep(Duration::from_millis(1));
    }
    let begun = Instant::now();
    bed.runner = None;
    assert!(begun.elapsed() < Duration::from_secs(20));
    let states = bed.states();
    assert!(
        matches!(states[0], TaskState::Broken { .. }),
        "{}",
        states[0]
    );
    assert_eq!(states[1], TaskState::Cancelled);
}

#[test]
fn whoever_is_told_of_a_task_may_end_the_session() {
    let (ended, has_ended) = mpsc::channel();
    let runner = Arc::new(Mutex::new(None::<Runner>));
    let slot = Arc::clone(&runner);
    let events = Events::to(Box::new(move |_| {
        let runner = slot.lock().unwrap().take();
        drop(runner);
        let _ = ended.send(());
    }));
    let events = events.unwrap();
    let board = Arc::new(Board::new(vec![script("one", &[])]));
    let serve: Arc<Serve> = Arc::new(|stream, _| exit(stream, 0));
    let guest = Arc::new(FakeGuest(serve, Duration::ZERO));
    {
        let mut slot = runner.lock().unwrap();
        *slot = Some(Runner::start(&board, guest, Arc::new(events), "m"));
    }
    has_ended.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(board.wait()[0].state, TaskState::Done);
}

#[test]
fn a_guest_that_is_gone_breaks_every_task() {
    #[derive(Debug)]
    struct Gone;
    impl Guest for Gone {
        fn connect(&self) -> Result<Box<dyn Connection>, Error> {
            let source = io::ErrorKind::NotConnected.into();
            let doing = "starting a command";
            Err(Repr::Connection { doing, source }.into())
        }
        fn listen(&self) -> Result<Arc<dyn Incoming>, Error> {
            Err(no_ports())
        }
        fn close_at_end(&self, _: Weak<dyn Close>) -> Result<(), Error> {
            Err(no_ports())
        }
        fn explain(&self, error: Error) -> Error {
            error
        }
    }
    let board = Arc::new(Board::new(vec![script("a", &[]), script("b", &["a"])]));
    let _runner = Runner::start(&board, Arc::new(Gone), Arc::default(), "m");
    let statuses = board.wait();
    assert!(matches!(statuses[0].state, TaskState::Broken { .. }));
    assert_eq!(statuses[1].state, TaskState::Skipped { need: "a".into() });
}
