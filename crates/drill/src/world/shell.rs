//! The commands of scripts, as far as they can be understood without a shell.
//!
//! Public scripts begin with `` `./defaults.sh` `` or the like: a file beside them that sets sysctls. Where that file is missing, the
//! same settings are made from here, so that a script can be taken alone. A helper of the kernel's self-tests, `set_sysctls.py`, is
//! understood likewise.

use std::path::Path;

use crate::parse::arithmetic;

/// What a command comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A sysctl is set.
    Sysctl { name: String, value: String },
    /// Something that a shell must do.
    Shell(String),
    /// Nothing is done, for a reason.
    Note(String),
    /// What is done only if the step before it failed.
    Otherwise(Vec<Step>),
}

/// TCP's settings in common use on servers, which public scripts count on.
const DEFAULTS: &[(&str, &str)] = &[
    ("net.ipv4.tcp_rmem", "4096 540000 15728640"),
    ("net.ipv4.tcp_wmem", "4096 262144 4194304"),
    ("net.ipv4.tcp_timestamps", "1"),
    ("net.ipv4.tcp_syn_retries", "5"),
    ("net.ipv4.tcp_synack_retries", "5"),
    ("net.ipv4.tcp_frto", "2"),
    ("net.ipv4.tcp_sack", "1"),
    ("net.ipv4.tcp_dsack", "1"),
    ("net.ipv4.tcp_reordering", "3"),
    ("net.ipv4.tcp_congestion_control", "cubic"),
    ("net.ipv4.tcp_slow_start_after_idle", "0"),
    ("net.ipv4.tcp_early_retrans", "4"),
    ("net.ipv4.tcp_recovery", "1"),
    ("net.ipv4.tcp_tso_win_divisor", "3"),
    ("net.ipv4.tcp_ecn", "0"),
    ("net.ipv4.tcp_pacing_ss_ratio", "200"),
    ("net.ipv4.tcp_pacing_ca_ratio", "120"),
    ("net.ipv4.tcp_notsent_lowat", "4294967295"),
    ("net.ipv4.tcp_fastopen", "0x70403"),
    (
        "net.ipv4.tcp_fastopen_key",
        "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4",
    ),
    ("net.ipv4.tcp_syncookies", "1"),
];

/// The steps of a command. As for a shell, the last of them decides whether it has succeeded.
///
/// Files that the command names are read, too, where they are lists of simple commands. With `shell`, what is more than that is
/// left to one, in one piece.
pub(super) fn steps(text: &str, folder: &Path, shell: bool) -> Vec<Step> {
    if shell && is_program(text) {
        return vec![Step::Shell(text.to_owned())];
    }
    let mut steps = Vec::new();
    for line in simple_commands(text) {
        understand(&line, folder, shell, 0, &mut steps);
    }
    steps
}

/// Whether a text is more than a list of simple commands: variables, pipes, conditions, loops.
fn is_program(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "if", "for", "while", "until", "case", "function", "cd", "export", "source", ".", "eval",
        "set", "trap", "return", "exit", "{", "(", "[", "[[", "read", "local",
    ];
    let commands = simple_commands(text);
    let of_a_program = |command: &String| {
        // Sums, and the number of the shell's parent in names of files, are understood.
        let plain = command.replace("$((", "").replace("${PPID}", "");
        let plain = plain.strip_prefix(OTHERWISE).unwrap_or(&plain);
        let first = plain.split_whitespace().next().unwrap_or_default();
        WORDS.contains(&first)
            || first.contains('=')
            || plain.contains(['$', '`', '|'])
            || plain.contains("<<")
            || plain.ends_with('&')
    };
    commands.iter().any(of_a_program)
}

fn is_missing(program: &str, folder: &Path) -> bool {
    program.contains('/') && !folder.join(program).exists()
}

/// What a command begins with that is only for when the one before it fails.
const OTHERWISE: &str = "|| ";

/// The commands of a text, one each: by lines, `;`, `&&` and `||`, outside of quotes; without comments.
fn simple_commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut command = String::new();
    let mut quote = None;
    let mut depth = 0_u32;
    let text = text.replace("\\\n", " ");
    let mut letters = text.chars().peekable();
    let mut blank = true;
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '(') => depth = depth.saturating_add(1),
            (None, ')') => depth = depth.saturating_sub(1),
            (None, '#') if blank => {
                while letters.next_if(|next| *next != '\n').is_some() {}
                continue;
            }
            (None, '|') if letters.peek() == Some(&'|') => {
                letters.next();
                commands.push(std::mem::replace(&mut command, OTHERWISE.to_owned()));
                blank = true;
                continue;
            }
            (None, '\n' | ';') if depth == 0 => {
                commands.push(std::mem::take(&mut command));
                blank = true;
                continue;
            }
            (None, '&') if letters.next_if_eq(&'&').is_some() => {
                commands.push(std::mem::take(&mut command));
                blank = true;
                continue;
            }
            _ => {}
        }
        blank = letter.is_whitespace();
        command.push(letter);
    }
    commands.push(command);
    commands
        .into_iter()
        .map(|command| command.trim().to_owned())
        .filter(|command| !command.is_empty())
        .collect()
}

/// The words of a command, without quotes, and without where its output goes. `$((…))` is its value.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut any = false;
    let mut quote = None;
    let mut rest = command;
    while let Some(letter) = rest.chars().next() {
        if quote != Some('\'')
            && let Some(inner) = rest.strip_prefix("$((")
            && let Some((sum, behind)) = inner.split_once("))")
            && let Some(value) = arithmetic(sum)
        {
            word.push_str(&value.to_string());
            any = true;
            rest = behind;
            continue;
        }
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => word.push(letter),
            None if matches!(letter, '"' | '\'') => {
                quote = Some(letter);
                any = true;
            }
            None if letter.is_whitespace() => {
                if any {
                    words.push(std::mem::take(&mut word));
                    any = false;
                }
            }
            None => {
                word.push(letter);
                any = true;
            }
        }
    }
    if any {
        words.push(word);
    }
    words
}

/// The deepest that files may name other files.
const DEEPEST: u32 = 4;

fn understand(command: &str, folder: &Path, shell: bool, depth: u32, steps: &mut Vec<Step>) {
    if let Some(command) = command.strip_prefix(OTHERWISE) {
        let command = command.trim();
        let mut otherwise = Vec::new();
        if depth < DEEPEST {
            understand(
                command,
                folder,
                shell,
                depth.saturating_add(1),
                &mut otherwise,
            );
        }
        return steps.push(Step::Otherwise(otherwise));
    }
    let all = words(command);
    let Some((program, arguments)) = all.split_first() else {
        return;
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let base = program.rsplit('/').next().unwrap_or(program);
    let plain: Vec<&str> = arguments
        .iter()
        .copied()
        .take_while(|word| !word.starts_with(['>', '|', '<']) && !word.starts_with("2>"))
        .collect();
    match base {
        "sysctl" => {
            let settings = plain.iter().filter(|word| !word.starts_with('-'));
            for (name, value) in settings.filter_map(|word| word.split_once('=')) {
                steps.push(sysctl(name, value));
            }
        }
        "echo" => {
            let Some(at) = arguments.iter().position(|word| word.starts_with('>')) else {
                return;
            };
            let target = match arguments.get(at) {
                Some(&">") => arguments.get(at.saturating_add(1)).copied(),
                Some(joined) => joined.strip_prefix('>'),
                None => None,
            };
            let value: Vec<&str> = plain.iter().copied().filter(|word| *word != "-n").collect();
            match target.and_then(|target| target.strip_prefix("/proc/sys/")) {
                Some(name) => steps.push(sysctl(name, &value.join(" "))),
                None => steps.push(Step::Shell(command.to_owned())),
            }
        }
        "set_sysctls.py" => {
            for (path, value) in plain.iter().filter_map(|word| word.split_once('=')) {
                let name = path.strip_prefix("/proc/sys/").unwrap_or(path);
                steps.push(sysctl(name, value));
            }
        }
        "true" | ":" | "wait" | "exit" => {}
        // What `set_sysctls.py` has left; the settings are the namespace's, and go with it.
        _ if base.starts_with("sysctl_restore_") => {}
        _ if is_missing(program, folder) && base.starts_with("defaults") => {
            steps.push(Step::Note(format!(
                "{program} is not there: the usual settings are made instead"
            )));
            steps.extend(DEFAULTS.iter().map(|(name, value)| sysctl(name, value)));
        }
        _ if is_missing(program, folder) => {
            steps.push(Step::Note(format!("{program} is not there: ignored")));
        }
        _ if program.contains('/') && depth < DEEPEST => {
            match std::fs::read_to_string(folder.join(program)) {
                Ok(text) if shell && !is_list(&text) => {
                    steps.push(Step::Shell(command.to_owned()));
                }
                Ok(text) => {
                    for line in simple_commands(&text) {
                        understand(&line, folder, shell, depth.saturating_add(1), steps);
                    }
                }
                Err(_) if shell => steps.push(Step::Shell(command.to_owned())),
                Err(error) => steps.push(Step::Note(format!("{program}: {error}: ignored"))),
            }
        }
        // Which routes are there before is the world's affair.
        "ip" if shell && is_new_route(&plain) => {
            let words: Vec<&str> = plain
                .iter()
                .map(|word| match *word {
                    "add" | "change" => "replace",
                    word => word,
                })
                .collect();
            steps.push(Step::Shell(format!("{program} {}", words.join(" "))));
        }
        _ => steps.push(Step::Shell(command.to_owned())),
    }
}

/// Whether words behind `ip` make a route, or make it another one.
fn is_new_route(words: &[&str]) -> bool {
    let mut words = words.iter().skip_while(|word| word.starts_with('-'));
    matches!(words.next(), Some(&("route" | "ro" | "r")))
        && matches!(words.next(), Some(&("add" | "change")))
}

/// Whether a file is a shell's, and no more than a list of simple commands.
fn is_list(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    first.starts_with("#!") && first.ends_with("sh") && !is_program(text)
}

fn sysctl(name: &str, value: &str) -> Step {
    Step::Sysctl {
        name: name.replace('/', "."),
        value: value.trim_matches(['"', '\'']).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Step {
        sysctl(name, value)
    }

    #[test]
    fn what_is_done_otherwise_is_for_when_a_command_fails() {
        let text = "sysctl -q a.b=1 &> /dev/null || \\\n  ip tcp_metrics flush all &> /dev/null";
        let flush = "ip tcp_metrics flush all &> /dev/null";
        assert_eq!(
            steps(text, Path::new("/"), true),
            [
                set("a.b", "1"),
                Step::Otherwise(vec![Step::Shell(flush.to_owned())])
            ]
        );
    }

    #[test]
    fn sysctls_are_understood_in_every_form() {
        let text = r#"
# A comment.
sysctl -q net.ipv4.tcp_sack=0 net.ipv4.tcp_ecn=1
sysctl -w -q net.ipv4.tcp_rmem="4096 540000 $((15*1024*1024))" > /dev/null 2>&1 || true
echo 5 > /proc/sys/net/ipv4/tcp_syn_retries; echo -n 1 >/proc/sys/net/ipv4/tcp_fack && true
./set_sysctls.py /proc/sys/net/ipv4/tcp_fastopen=0x602 \
  /proc/sys/net/ipv4/tcp_timestamps=0
./common/other.sh
"#;
        assert_eq!(
            steps(text, Path::new("/nowhere"), true),
            [
                set("net.ipv4.tcp_sack", "0"),
                set("net.ipv4.tcp_ecn", "1"),
                set("net.ipv4.tcp_rmem", "4096 540000 15728640"),
                // It may fail.
                Step::Otherwise(Vec::new()),
                set("net.ipv4.tcp_syn_retries", "5"),
                set("net.ipv4.tcp_fack", "1"),
                set("net.ipv4.tcp_fastopen", "0x602"),
                set("net.ipv4.tcp_timestamps", "0"),
                Step::Note("./common/other.sh is not there: ignored".to_owned()),
            ]
        );
    }

    #[test]
    fn the_usual_settings_stand_in_for_a_missing_file() {
        let steps = steps(
            "../common/defaults.sh\nip link",
            Path::new("/nowhere"),
            true,
        );
        assert_eq!(steps.len(), DEFAULTS.len() + 2);
        assert_eq!(steps.last(), Some(&Step::Shell("ip link".to_owned())));
    }

    #[test]
    fn what_only_a_shell_can_do_is_left_to_it() {
        for text in [
            "sysctl -q net.ipv4.tcp_sack=0 && nstat -n | grep x",
            "if true; then sysctl -q net.ipv4.tcp_sack=0; fi",
            "A=1; sysctl -q net.ipv4.tcp_sack=$A",
        ] {
            assert_eq!(
                steps(text, Path::new("/nowhere"), true),
                [Step::Shell(text.to_owned())]
            );
        }
        assert_eq!(
            steps(
                "ip route change default dev tun0 rto_min 5ms\n/tmp/sysctl_restore_${PPID}.sh",
                Path::new("/nowhere"),
                true
            ),
            [Step::Shell(
                "ip route replace default dev tun0 rto_min 5ms".to_owned()
            )]
        );
    }

    #[test]
    fn files_that_are_lists_are_taken_apart() {
        let folder = tempfile::tempdir().unwrap();
        let list = "#!/bin/bash\n# A comment.\nsysctl -q net.ipv4.tcp_sack=0\ntc qdisc add dev tun0 root pfifo\n";
        std::fs::write(folder.path().join("list.sh"), list).unwrap();
        std::fs::write(folder.path().join("more.sh"), format!("{list}A=1\n")).unwrap();
        assert_eq!(
            steps("./list.sh\n./more.sh x", folder.path(), true),
            [
                set("net.ipv4.tcp_sack", "0"),
                Step::Shell("tc qdisc add dev tun0 root pfifo".to_owned()),
                Step::Shell("./more.sh x".to_owned()),
            ]
        );
    }

    #[test]
    fn files_are_read_where_there_is_no_shell() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("a.sh"),
            "#!/bin/sh\nsysctl net.ipv4.tcp_sack=0\n./a.sh\n",
        )
        .unwrap();
        let steps = steps("./a.sh", folder.path(), false);
        assert!(steps.len() <= 8, "{steps:?}");
        assert_eq!(steps.first(), Some(&set("net.ipv4.tcp_sack", "0")));
    }
}
