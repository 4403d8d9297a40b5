//! Real programs.

use nix::sys::signal::kill;

use super::*;

fn errand<'a>(arguments: &'a [&'a str]) -> Errand<'a> {
    Errand {
        program: Path::new("/bin/sh"),
        arguments,
        variables: &[],
        keeps_back: |_name| false,
        deadline: Duration::from_secs(20),
    }
}

async fn run(errand: Errand<'_>) -> (Vec<Said>, Result<(), Error>) {
    let mut heard = Vec::new();
    let result = errand.run(|said| heard.push(said)).await;
    (heard, result)
}

fn out(line: &str) -> Said {
    Said::Out(line.to_owned())
}

#[tokio::test]
async fn lines_of_both_outputs_are_heard() {
    let (mut heard, result) =
        run(errand(&["-c", "echo one; echo two >&2; printf 'a\\033[1mb\\n\\nlast'"])).await;
    result.unwrap();
    heard.sort_by_key(|said| matches!(said, Said::Err(_)));
    let err = Said::Err("two".to_owned());
    assert_eq!(heard, [out("one"), out("a [1mb"), out(""), out("last"), err]);
}

#[tokio::test]
async fn endless_output_is_bounded() {
    let script = "head -c 3000000 /dev/zero | tr '\\0' x; echo; seq 1 100000";
    let (heard, result) = run(errand(&["-c", script])).await;
    result.unwrap();
    assert_eq!(heard.len(), MOST_LINES + 1);
    assert_eq!(heard[0], out(&"x".repeat(LONGEST_LINE)));
    assert_eq!(heard[MOST_LINES], out("… and 99801 lines more"));
}

#[tokio::test]
async fn it_gets_what_it_shall_know_and_not_what_it_shall_not() {
    let variables = [("FLANNEL_MTU", "1450")];
    let keeps_back = |name: &str| name.starts_with("CARGO_");
    let words = ["-c", "env; read word || echo no input; pwd"];
    let (heard, result) = run(Errand { variables: &variables, keeps_back, ..errand(&words) }).await;
    result.unwrap();
    assert!(heard.contains(&out("FLANNEL_MTU=1450")));
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let kept = |said: &Said| matches!(said, Said::Out(line) if line.starts_with("CARGO_MANIFEST"));
    assert!(!heard.iter().any(kept));
    assert_eq!(heard[heard.len() - 2..], [out("no input"), out("/")]);
}

#[tokio::test]
async fn failures_name_the_program_and_why() {
    let cases = [
        (errand(&["-c", "echo a >&2; echo b >&2; exit 3"]), "/bin/sh failed (exit status: 3): a"),
        (errand(&["-c", "exit 1"]), "/bin/sh failed (exit status: 1): it did not say why"),
        (errand(&["-c", "kill -9 $$"]), "/bin/sh failed (signal: 9 (SIGKILL))"),
        (Errand { program: Path::new("/twill/none"), ..errand(&[]) }, "cannot run /twill/none"),
        (
            Errand { deadline: Duration::from_millis(50), ..errand(&["-c", "sleep 60"]) },
            "/bin/sh did not end within 50ms",
        ),
    ];
    for (errand, want) in cases {
        let error = run(errand).await.1.unwrap_err().to_string();
        assert!(error.starts_with(want), "{error}");
    }
}

#[tokio::test]
async fn nothing_of_its_group_outlives_it() {
    let leaves = "sleep 1000 & echo $!";
    let stays = "sleep 1000 & echo $!; wait";
    let (heard, result) = run(errand(&["-c", leaves])).await;
    result.unwrap();
    gone(&heard).await;
    let (heard, result) =
        run(Errand { deadline: Duration::from_secs(3), ..errand(&["-c", stays]) }).await;
    result.unwrap_err();
    gone(&heard).await;

    let (tell, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let words = ["-c", stays];
    let runs = errand(&words).run(|line| tell.send(line).unwrap());
    let heard = tokio::select! {
        result = runs => panic!("{result:?}"),
        line = lines.recv() => line.unwrap(),
    };
    gone(&[heard]).await;
}

#[tokio::test]
async fn one_that_leaves_the_group_holds_nobody_up() {
    let (heard, result) = run(errand(&["-c", "setsid sleep 1000 & echo $!"])).await;
    result.unwrap();
    let [Said::Out(pid)] = &heard[..] else { panic!("{heard:?}") };
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
}

/// The process whose number was said has ended, reaped or not.
async fn gone(heard: &[Said]) {
    let [Said::Out(pid)] = heard else { panic!("{heard:?}") };
    let stat = format!("/proc/{pid}/stat");
    let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    let wait = async {
        while lives() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.expect("it still lives");
}
