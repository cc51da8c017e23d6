//! Typing at a guest's serial port.

use std::io::Write;

use vmm_core::{Exit, Vm};

use super::machine::{PATIENCE, Screen, config, end};

#[test]
fn a_shell_answers_what_is_typed_and_loses_nothing_that_is_pasted() {
    let screen = Screen::default();
    let config = config("exec sh </dev/ttyS0 >/dev/ttyS0 2>&1", &screen);
    let vm = Vm::start(config).unwrap();
    let mut keyboard = vm.console_input();
    // Typed before there is a kernel, let alone a shell.
    keyboard.write_all(b"echo answer $((6 * 7))\n").unwrap();
    screen.wait_for("answer 42\n");
    keyboard.write_all(b"seq 1 12000 >/want\n").unwrap();
    let text: String = (1..=12_000).map(|line| format!("{line}\n")).collect();
    for flow in ["-crtscts", "crtscts"] {
        let command = format!(
            "stty raw -echo {flow}; echo re''ady {flow}; sleep 2; head -c {} >/got; stty sane; \
             cmp /want /got && echo who''le {flow}\n",
            text.len()
        );
        keyboard.write_all(command.as_bytes()).unwrap();
        screen.wait_for(&format!("ready {flow}\n"));
        let sent = keyboard.write_timeout(text.as_bytes(), PATIENCE).unwrap();
        assert_eq!(sent, text.len());
        screen.wait_for(&format!("whole {flow}\n"));
    }
    keyboard.write_all(b"poweroff -f\n").unwrap();
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
}
