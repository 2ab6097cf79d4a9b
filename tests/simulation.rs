//! Random programs in a deterministic simulation of the event loop, and a model of what they may do.
//!
//! The simulation is a feature, so that nobody else pays for it. Without the feature this program has one test, which
//! builds the program once more with it, and runs that. `SIMULATION_CASES` is the number of programs (a third of
//! them with several threads), `SIMULATION_SEED` chooses other programs.
//!
//! A failure says which program it was, cut down as far as it fails, and the command that runs it again. Programs that
//! have failed once are kept in `simulation/regressions`, a line each.

#[cfg(feature = "simulation")]
mod common;
#[cfg(feature = "simulation")]
#[path = "simulation/mod.rs"]
mod simulation;

#[cfg(not(feature = "simulation"))]
#[test]
fn all_tests_pass_with_the_feature() {
    let cargo = std::env::var_os("CARGO").expect("cargo runs the tests");
    let status = std::process::Command::new(cargo)
        .args(["test", "--quiet", "--package", "workspace", "--features", "simulation"])
        .args(["--test", "simulation"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "see above");
}
