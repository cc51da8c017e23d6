//! Many sessions, each in a process of its own, that do random things and are killed in between, against a model.
//!
//! `VM_TEST_OPERATIONS` says how many operations, by 20 sessions; without it there are as few as suit a run of all tests.
//! `VM_TEST_SEED`, which must not be 0, chooses other ones.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use super::playground::{Bed, machine};

const OPERATIONS: u64 = 10;
const SESSIONS: u64 = 3;
const MANY_SESSIONS: u64 = 20;
/// What was done is printed after so many operations.
const SHOWN: u64 = 25;
/// As many guests as there is memory for.
const MOST_RUNNING: usize = 6;
/// By this one the few operations have one of each kind that is not rare.
const SEED: u64 = 0x5e55_065f;

/// Counts up on disk for each line that it reads, and says the number once it is synced.
const COUNTER: &str = "n=$(cat /count 2>/dev/null || echo 0); echo $n; while read line; do n=$((n+1)); \
     echo $n > /count.new; mv /count.new /count; sync; echo $n; done";

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        assert_ne!(seed, 0, "nothing but zeros would come of it");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A session that runs in a process.
struct Running {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    fn number(&mut self) -> u64 {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let number = line.trim().parse();
        number.unwrap_or_else(|_| panic!("{line:?} instead of a number"))
    }
}

/// What is known of a session: no number on its disk may be lower than this one.
#[derive(Default)]
struct Known {
    least: u64,
    running: Option<Running>,
    /// The states that it may be in while it does not run.
    states: Vec<&'static str>,
}

struct Model {
    bed: Bed,
    random: Random,
    /// How many sessions there are at the most.
    most: u64,
    sessions: BTreeMap<String, Known>,
    done: BTreeMap<&'static str, u64>,
}

impl Model {
    fn spawn(&self, args: &[String]) -> Running {
        let mut command = self.bed.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Running {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn start(&mut self, id: &str) {
        let mut args: Vec<String>;
        if self.sessions.contains_key(id) {
            args = ["resume", id].map(str::to_owned).to_vec();
        } else {
            args = ["run", "box", "--session", id, "--memory", "192"]
                .map(str::to_owned)
                .to_vec();
            args.extend(machine());
        }
        args.extend(["--", "sh", "-c", COUNTER].map(str::to_owned));
        let mut running = self.spawn(&args);
        let found = running.number();
        let known = self.sessions.entry(id.to_owned()).or_default();
        assert!(
            found >= known.least,
            "{id} has {found}, and had {}",
            known.least
        );
        known.least = found;
        known.running = Some(running);
    }

    fn work(&mut self, id: &str) {
        let known = self.sessions.get_mut(id).unwrap();
        let running = known.running.as_mut().unwrap();
        running.stdin.write_all(b"\n").unwrap();
        let number = running.number();
        assert_eq!(number, known.least + 1, "{id}");
        known.least = number;
    }

    fn shut_down(&mut self, id: &str) {
        let known = self.sessions.get_mut(id).unwrap();
        let Running {
            mut child,
            stdin,
            stdout,
        } = known.running.take().unwrap();
        drop(stdin);
        assert!(child.wait().unwrap().success(), "{id}");
        drop(stdout);
        known.states = vec!["stopped"];
    }

    /// Kills it while it works, rests or is being shut down.
    fn kill(&mut self, id: &str) {
        let pause = Duration::from_millis(self.random.below(600));
        let doing = self.random.below(3);
        let known = self.sessions.get_mut(id).unwrap();
        let Running {
            mut child,
            mut stdin,
            stdout,
        } = known.running.take().unwrap();
        match doing {
            0 => drop(stdin),
            1 => stdin.write_all(b"\n").unwrap(),
            _ => {}
        }
        std::thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
        drop(stdout);
        known.states = vec!["interrupted", "stopped"];
    }

    fn settle(&mut self, id: &str) {
        self.bed.json(&["settle", id]);
        let known = self.sessions.get_mut(id).unwrap();
        if known.states != ["created"] {
            known.states = vec!["stopped"];
        }
    }

    fn fork(&mut self, id: &str, name: &str) {
        self.settle(id);
        self.bed.json(&["fork", id, "--name", name]);
        let fork = Known {
            least: self.sessions[id].least,
            states: vec!["created"],
            running: None,
        };
        self.sessions.insert(name.to_owned(), fork);
    }

    fn remove(&mut self, id: &str) {
        self.bed.json(&["rm", id]);
        self.sessions.remove(id);
    }

    /// What the store says of all sessions must be what is known.
    fn check(&self) {
        let listed = self.bed.json(&["ls"]);
        assert_eq!(
            listed["unreadable"].as_array().unwrap().len(),
            0,
            "{listed}"
        );
        let listed = listed["sessions"].as_array().unwrap();
        let ids: Vec<_> = listed
            .iter()
            .map(|one| one["session"].as_str().unwrap())
            .collect();
        let known: Vec<_> = self.sessions.keys().map(String::as_str).collect();
        assert_eq!(ids, known);
        for (one, known) in listed.iter().zip(self.sessions.values()) {
            let state = one["state"].as_str().unwrap();
            let is_right = match known.running {
                Some(_) => state == "running",
                None => known.states.contains(&state),
            };
            assert!(is_right, "{one}");
        }
    }

    fn step(&mut self) {
        let id = format!("s{:02}", self.random.below(self.most));
        let running = self
            .sessions
            .values()
            .filter(|known| known.running.is_some())
            .count();
        let choice = self.random.below(10);
        let is_running = self.sessions.get(&id).map(|known| known.running.is_some());
        let what = match (is_running, choice) {
            (Some(true), 0..6) => {
                self.work(&id);
                "work"
            }
            (Some(true), 6..8) => {
                self.kill(&id);
                "kill"
            }
            (Some(true), _) => {
                self.shut_down(&id);
                "shut down"
            }
            (Some(false), 0) => {
                self.remove(&id);
                "remove"
            }
            (Some(false), 1) => {
                self.settle(&id);
                "settle"
            }
            (Some(false), 2..4) => {
                let name = format!("s{:02}", self.random.below(self.most));
                if self.sessions.contains_key(&name) {
                    return;
                }
                self.fork(&id, &name);
                "fork"
            }
            _ if running < MOST_RUNNING => {
                self.start(&id);
                "start"
            }
            _ => return,
        };
        *self.done.entry(what).or_default() += 1;
    }
}

/// What the environment says of `name`.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap())
}

#[test]
fn sessions_that_do_random_things_and_are_killed_lose_nothing_and_leave_nothing() {
    let (operations, most) = match number("VM_TEST_OPERATIONS") {
        Some(operations) => (operations, MANY_SESSIONS),
        None => (OPERATIONS, SESSIONS),
    };
    let mut model = Model {
        bed: Bed::new(),
        random: Random::new(number("VM_TEST_SEED").unwrap_or(SEED)),
        most,
        sessions: BTreeMap::new(),
        done: BTreeMap::new(),
    };
    let mut done = 0;
    while done < operations {
        model.step();
        model.check();
        let before = std::mem::replace(&mut done, model.done.values().sum());
        if done > before && (done.is_multiple_of(SHOWN) || done == operations) {
            println!("{done} operations: {:?}", model.done);
        }
    }
    for what in ["work", "kill", "fork", "settle"] {
        assert!(model.done.contains_key(what), "{what} was not tried");
    }
    let ids: Vec<String> = model.sessions.keys().cloned().collect();
    for id in ids {
        if model.sessions[&id].running.is_some() {
            model.shut_down(&id);
        }
        // Each disk says what was last reported of it.
        model.start(&id);
        model.shut_down(&id);
        model.remove(&id);
    }
    model.check();
    let left = |folder: &str| std::fs::read_dir(model.bed.path(folder)).map_or(0, Iterator::count);
    assert_eq!((left("store/sessions"), left("store/disks")), (0, 0));
    model.bed.json(&["gc", "--grace", "0"]);
    let before = model.bed.json(&["du"]);
    assert_eq!(before["disks"].as_array().unwrap().len(), 0, "{before}");
    assert_eq!(before["unreachable_bytes"], 0, "{before}");
}
