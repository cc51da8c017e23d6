//! Compiles the lists of system calls in `src/seccomp` to the programs that the kernel runs, so that a list
//! with a fault does not build, and a thread that starts has nothing to compile.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde_json::{Value, json};

const LISTS: &str = "src/seccomp";

/// The programs, and the lists that each of them consists of; rules that come first are found first.
const PROGRAMS: [(&str, &[&str]); 5] = [
    ("VCPU", &["vcpu", "common"]),
    ("DESCRIPTORS", &["common", "device"]),
    ("OPEN_FILES", &["common", "device", "open_files"]),
    ("FILES", &["common", "device", "open_files", "files"]),
    ("UNIX_SOCKETS", &["common", "device", "vsock"]),
];

/// Calls of libraries, which do without what they ask for: they are refused where others kill.
const ASKED: &str = "asked";
const EPERM: u32 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={LISTS}");
    let arch = TargetArch::try_from(env::var("CARGO_CFG_TARGET_ARCH")?.as_str())?;
    let mut text = String::new();
    for (name, lists) in PROGRAMS {
        let allowed = rules(lists)?;
        let mut refused = rules(&[ASKED])?;
        refused.retain(|asked| !allowed.iter().any(|rule| covers(rule, asked)));
        let refuse = json!({"errno": EPERM});
        let survived = [&allowed[..], &refused].concat();
        write!(text, "static {name}: Program = Program {{")?;
        for (field, rules, matching, other) in [
            ("refuse", &allowed, &json!("allow"), &refuse),
            ("refuse_asked", &refused, &refuse, &json!("allow")),
            ("kill", &survived, &json!("allow"), &json!("kill_process")),
        ] {
            let program = compile(rules, matching, other, arch)?;
            write_program(&mut text, field, &program)?;
        }
        writeln!(text, "}};")?;
    }
    let target = PathBuf::from(env::var("OUT_DIR")?).join("seccomp_programs.rs");
    Ok(fs::write(target, text)?)
}

/// The rules of several lists together. One without arguments stands for all of its call, which the compiler
/// would take for less beside one with arguments.
fn rules(lists: &[&str]) -> Result<Vec<Value>, Box<dyn Error>> {
    let mut rules = Vec::new();
    for list in lists {
        let path = Path::new(LISTS).join(list).with_extension("json");
        let read: Vec<Value> = serde_json::from_slice(&fs::read(&path)?)?;
        rules.extend(read);
    }
    let is_free = |rule: &Value| rule.get("args").is_none();
    let free: Vec<Value> = rules
        .iter()
        .filter(|rule| is_free(rule))
        .map(|rule| rule["syscall"].clone())
        .collect();
    rules.retain(|rule| is_free(rule) || !free.contains(&rule["syscall"]));
    Ok(rules)
}

/// Whether `rule` stands for the calls of `other`: for all of that name, or for those with the same arguments.
fn covers(rule: &Value, other: &Value) -> bool {
    let (args, same) = (rule.get("args"), rule["syscall"] == other["syscall"]);
    same && (args.is_none() || args == other.get("args"))
}

/// A program that answers what the rules say in one way, and everything else in another.
fn compile(
    rules: &[Value],
    matching: &Value,
    other: &Value,
    arch: TargetArch,
) -> Result<BpfProgram, Box<dyn Error>> {
    let filters = json!({"it": {
        "mismatch_action": other,
        "match_action": matching,
        "filter": rules,
    }});
    let mut programs = compile_from_json(filters.to_string().as_bytes(), arch)?;
    Ok(programs.remove("it").ok_or("the filter was not compiled")?)
}

fn write_program(
    text: &mut String,
    field: &str,
    program: &BpfProgram,
) -> Result<(), std::fmt::Error> {
    write!(text, "{field}: &[")?;
    for instruction in program {
        let (code, jt, jf, k) = (
            instruction.code,
            instruction.jt,
            instruction.jf,
            instruction.k,
        );
        write!(
            text,
            "sock_filter {{ code: {code}, jt: {jt}, jf: {jf}, k: {k} }},"
        )?;
    }
    write!(text, "],")
}
