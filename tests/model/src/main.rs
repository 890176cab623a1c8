//! The model checker: rebootd's own core, held against every run of events.

mod agent;
mod config;
mod search;
mod state;
mod steps;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.first().is_some_and(|n| n == "calm") { return search::calm(&config::all()[0]); }
    for config in config::all() {
        if !names.is_empty() && !names.iter().any(|name| name == config.name) {
            continue;
        }
        let found = search::search(&config, 60_000_000, false, &|at, all| eprintln!("{at} of {all}"));
        println!(
            "{}: {} states, {} steps, {} locals, {:.1} s, exhaustive {}",
            config.name, found.states, found.steps, found.locals, found.time.as_secs_f64(), found.exhaustive
        );
        for violation in found.violations {
            println!("  VIOLATION {} ({} states)", violation.what, violation.states);
            for (label, _) in violation.run {
                println!("    {label}");
            }
        }
    }
}
