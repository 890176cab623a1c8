//! What the processes in pods noted of themselves, on their host: see `app.sh`.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use super::pods::LOG;
use crate::host::Host;
use crate::progress::say;
use crate::scenarios::stage::{SOON, Stage};

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One run of a pod's process. All times are seconds since the boot of the machine that the lab runs on.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pod: String,
    pub(super) began: f64,
    /// When it was told to end.
    pub(super) term: Option<f64>,
    /// When it ended by itself; nothing while it runs, or where it was killed.
    pub(super) ended: Option<f64>,
}

/// All that have run on a host, which may be off.
pub(super) fn of(host: &Host) -> Result<Vec<Process>> {
    let path = host.root().join(LOG.trim_start_matches('/')).join("events");
    read(&fs::read_to_string(&path).with_context(|| path.display().to_string())?)
}

fn read(events: &str) -> Result<Vec<Process>> {
    let mut processes: Vec<Process> = Vec::new();
    for line in events.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [time, pod, event] = words[..] else { anyhow::bail!("{line:?} is no event") };
        let time: f64 = time.parse()?;
        if event == "START" {
            processes.push(Process { pod: pod.to_owned(), began: time, term: None, ended: None });
            continue;
        }
        let process = processes.iter_mut().rfind(|process| process.pod == pod);
        let process = process.with_context(|| format!("{line:?} of a process that never began"))?;
        match event {
            "TERM" => process.term = Some(time),
            "END" | "DONE" => process.ended = Some(time),
            _ => {}
        }
    }
    Ok(processes)
}

/// Every process that runs no more has ended by itself, after TERM or when its work was done; only those of `stubborn`
/// pods, which ignore TERM, were killed. Gives how many ended after TERM.
pub(super) async fn none_killed(stage: &Stage, host: &Host, stubborn: &str) -> Result<usize> {
    let deadline = Instant::now() + SOON;
    let (state, all) = loop {
        let (state, all) = (stage.observer.state(), of(host)?);
        // A process begins before its kubelet has told that its pod is not pending any more.
        let begins = |process: &Process| {
            let mut pods = state.pods_on(host.name()).filter(|pod| pod.name == process.pod);
            process.ended.is_none() && pods.any(|pod| pod.phase == "Pending")
        };
        if Instant::now() > deadline || !all.iter().any(begins) {
            break (state, all);
        }
        sleep(LOOK_EVERY).await;
    };
    let runs = |name: &str| state.pods_on(host.name()).any(|pod| pod.name == name && pod.phase == "Running");
    let is_stubborn = |name: &str| !stubborn.is_empty() && name.starts_with(stubborn);
    let killed: Vec<&Process> =
        killed(&all, runs).into_iter().filter(|process| !is_stubborn(&process.pod)).collect();
    ensure!(killed.is_empty(), "{}: {killed:#?} were killed, among {all:#?}", host.name());
    let ended = all.iter().filter(|process| process.ended.is_some() && process.term.is_some()).count();
    say(format!(
        "{}: {} processes ran, {ended} ended after TERM, no other one was killed",
        host.name(),
        all.len()
    ));
    Ok(ended)
}

/// Those that did not end by themselves; the last process of a pod that runs has not ended.
fn killed(all: &[Process], runs: impl Fn(&str) -> bool) -> Vec<&Process> {
    let is_last = |index: usize| !all[index + 1..].iter().any(|later| later.pod == all[index].pod);
    let unfinished = all.iter().enumerate().filter(|(_, process)| process.ended.is_none());
    unfinished
        .filter(|(index, process)| !(is_last(*index) && runs(&process.pod)))
        .map(|(_, process)| process)
        .collect()
}

/// The time of day as seconds since this machine's boot.
pub(super) fn uptime_of(time: SystemTime) -> Result<f64> {
    Ok(uptime()? - SystemTime::now().duration_since(time)?.as_secs_f64())
}

/// One of the observer's times as seconds since this machine's boot.
pub(super) fn uptime_at(stage: &Stage, at: Duration) -> Result<f64> {
    Ok(uptime()? - (stage.observer.now() - at).as_secs_f64())
}

fn uptime() -> Result<f64> {
    let text = fs::read_to_string("/proc/uptime")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_an_end_was_killed_unless_its_pod_runs() {
        let events = "1.0 a START\n1.0 b START\n2.0 a PRESTOP\n3.0 a TERM\n3.5 a END\n4.0 b TERM\n5.0 b START\n\
                      5.0 c START\n6.0 c DONE\n7.0 d START\n7.5 d TERM\n";
        let all = read(events).expect("events");
        assert_eq!((all[0].term, all[0].ended), (Some(3.0), Some(3.5)));
        let names = |killed: Vec<&Process>| -> Vec<(String, f64)> {
            killed.iter().map(|process| (process.pod.clone(), process.began)).collect()
        };
        let running = killed(&all, |pod| pod == "b");
        assert_eq!(names(running), [("b".to_owned(), 1.0), ("d".to_owned(), 7.0)]);
        let gone = killed(&all, |_| false);
        assert_eq!(names(gone), [("b".to_owned(), 1.0), ("b".to_owned(), 5.0), ("d".to_owned(), 7.0)]);
        assert!(read("1.0 a END\n").is_err());
    }
}
