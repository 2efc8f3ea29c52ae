//! The kernels' fast forms with narrower vectors than the processor's widest.

use std::process::Command;

use gatefold::cpu::Cpu;

/// Runs some tests of this suite in a process of its own with such vectors.
fn passes_with(vectors: &str, name: &str, tests: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args([tests]).env("GATEFOLD_VECTORS", vectors).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "with {name}: {text}");
    assert!(text.contains(&format!("{tests}lstm_sequence_forward ... ok")), "{text}");
    // It says so where it can't have them.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "vectors::are_those_asked_for"])
        .env("GATEFOLD_VECTORS", vectors)
        .env("GATEFOLD_VECTORS_ARE", name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn are_those_asked_for() {
    let vectors = Cpu::new().vectors();
    match std::env::var("GATEFOLD_VECTORS_ARE") {
        Ok(name) => assert_eq!(vectors, name),
        Err(_) => assert!(["AVX-512", "AVX2", "NEON", "no vectors"].contains(&vectors)),
    }
}

#[test]
fn none_give_the_same_within_tolerances() {
    passes_with("scalar", "no vectors", "kernel_");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn avx2_gives_the_same_within_tolerances() {
    if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("fma") {
        return println!("this processor has none");
    }
    passes_with("avx2", "AVX2", "kernel_");
}
