//! node_exporter's flags of its collectors on our command line, made of the exporter's tables.

use std::net::SocketAddr;
use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Command};
use obs_node_exporter::{COLLECTORS, FLAGS, Flag, Kind, NOT_HERE};

/// A flag as the command line has it.
#[derive(Debug)]
struct Named {
    name: String,
    /// `--no-…` of it, or what it is the `--no-…` of.
    opposite: Option<String>,
    help: String,
    action: ArgAction,
    is_switch: bool,
    hidden: bool,
}

/// Every flag; clap wants names that live for ever.
static NAMED: LazyLock<Vec<Named>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for collector in COLLECTORS {
        let state = if collector.default_on { "on" } else { "off" };
        let help = format!("Collector {} (default: {state})", collector.name);
        switch(
            &mut all,
            &format!("collector.{}", collector.name),
            help,
            false,
        );
    }
    for absent in NOT_HERE {
        let help = format!("Collector {absent} is not part of obs");
        switch(&mut all, &format!("collector.{absent}"), help, true);
    }
    let help = "Set all collectors to disabled by default".to_owned();
    switch(&mut all, "collector.disable-defaults", help, false);
    for flag in FLAGS {
        match flag.kind {
            Kind::Switch => switch(&mut all, flag.name, described(&flag), false),
            Kind::Text | Kind::Repeated | Kind::Old => all.push(Named {
                name: flag.name.to_owned(),
                opposite: None,
                help: described(&flag),
                action: match flag.kind {
                    Kind::Repeated => ArgAction::Append,
                    Kind::Text | Kind::Old | Kind::Switch => ArgAction::Set,
                },
                is_switch: false,
                hidden: flag.kind == Kind::Old,
            }),
        }
    }
    all
});

fn described(flag: &Flag) -> String {
    match (flag.kind, flag.default) {
        (Kind::Old, _) => format!("Old name of --{}", flag.help),
        (_, "") => flag.help.to_owned(),
        (_, default) => format!("{} [default: {default}]", flag.help),
    }
}

fn switch(all: &mut Vec<Named>, name: &str, help: String, hidden: bool) {
    let negated = format!("no-{name}");
    all.push(Named {
        name: name.to_owned(),
        opposite: Some(negated.clone()),
        help: help.clone(),
        action: ArgAction::Set,
        is_switch: true,
        hidden,
    });
    all.push(Named {
        name: negated,
        opposite: Some(name.to_owned()),
        help,
        action: ArgAction::Set,
        is_switch: true,
        hidden: true,
    });
}

fn argument(named: &'static Named) -> Arg {
    let argument = Arg::new(named.name.as_str())
        .long(named.name.as_str())
        .help(named.help.as_str())
        .help_heading("Collectors")
        .hide(named.hidden)
        .action(named.action.clone());
    let argument = if named.is_switch {
        argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .hide_default_value(true)
            .value_name("true|false")
    } else {
        argument.value_name("VALUE").allow_hyphen_values(true)
    };
    let argument = match named.action {
        ArgAction::Set => argument.overrides_with(named.name.as_str()),
        _ => argument,
    };
    match &named.opposite {
        Some(opposite) => argument.overrides_with(opposite.as_str()),
        None => argument,
    }
}

/// What was given, in the exporter's names.
#[derive(Clone, Debug, Default)]
pub(crate) struct CollectorFlags {
    given: Vec<(String, String)>,
}

impl CollectorFlags {
    /// Name and value of each.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.given
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn read(matches: &ArgMatches) -> Self {
        let mut given = Vec::new();
        for named in NAMED.iter() {
            let values = matches.get_many::<String>(named.name.as_str());
            let values = values.into_iter().flatten();
            given.extend(values.map(|value| (named.name.clone(), value.clone())));
        }
        Self { given }
    }
}

impl clap::Args for CollectorFlags {
    fn augment_args(command: Command) -> Command {
        command.args(NAMED.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for CollectorFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::read(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::read(matches);
        Ok(())
    }
}

/// An address; without a host, as node_exporter's `:9100`, it is every one of the machine.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let whole = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => text.to_owned(),
    };
    whole
        .parse()
        .map_err(|_| "expected an IP address and a port such as 127.0.0.1:9100".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn check(arguments: &[&str], expect: Result<&[(&str, &str)], &str>) {
        let command = CollectorFlags::augment_args(Command::new("x").no_binary_name(true));
        let found = command.try_get_matches_from(arguments);
        match (found, expect) {
            (Ok(matches), Ok(expect)) => {
                let flags = CollectorFlags::from_arg_matches(&matches).unwrap();
                let found: Vec<(&str, &str)> = flags.pairs().collect();
                assert_eq!(found, expect, "{arguments:?}");
            }
            (Err(error), Err(expect)) => {
                let text = error.to_string();
                assert!(text.contains(expect), "{arguments:?}: {text}");
            }
            (found, expect) => panic!("{arguments:?}: {found:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn flags_of_node_exporter() {
        check(&[], Ok(&[]));
        check(
            &["--collector.systemd"],
            Ok(&[("collector.systemd", "true")]),
        );
        check(
            &["--no-collector.wifi"],
            Ok(&[("no-collector.wifi", "true")]),
        );
        check(
            &["--collector.cpu", "--no-collector.cpu"],
            Ok(&[("no-collector.cpu", "true")]),
        );
        check(
            &[
                "--collector.cpu.guest=false",
                "--collector.disable-defaults",
            ],
            Ok(&[
                ("collector.disable-defaults", "true"),
                ("collector.cpu.guest", "false"),
            ]),
        );
        check(
            &[
                "--collector.textfile.directory=/a",
                "--collector.textfile.directory",
                "/b",
                "--collector.filesystem.mount-points-exclude=^/(dev|proc)($|/)",
            ],
            Ok(&[
                (
                    "collector.filesystem.mount-points-exclude",
                    "^/(dev|proc)($|/)",
                ),
                ("collector.textfile.directory", "/a"),
                ("collector.textfile.directory", "/b"),
            ]),
        );
        check(&["--collector.nope"], Err("unexpected argument"));
    }

    #[test]
    fn every_flag_is_taken_by_the_exporter() {
        for named in NAMED.iter().filter(|named| !named.hidden) {
            let value = match FLAGS.iter().find(|flag| flag.name == named.name) {
                Some(flag) => flag.default,
                None => "true",
            };
            let options = obs_node_exporter::Options::from_flags([(&*named.name, value)]);
            assert!(options.is_ok(), "--{}: {options:?}", named.name);
        }
    }

    #[test]
    fn addresses_without_a_host() {
        for (text, expect) in [
            (":9100", Some("0.0.0.0:9100")),
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            ("[::1]:9100", Some("[::1]:9100")),
            ("9100", None),
        ] {
            let found = listen_address(text).ok().map(|address| address.to_string());
            assert_eq!(found.as_deref(), expect, "{text}");
        }
    }
}
