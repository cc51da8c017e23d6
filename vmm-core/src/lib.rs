//! A small KVM virtual machine monitor that lives inside its caller's process.
