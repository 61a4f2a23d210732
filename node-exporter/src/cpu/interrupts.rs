//! interrupts: per CPU and line, from `/proc/interrupts`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    parse(&source.read("proc/interrupts")?, options, sheet)
}

fn parse(text: &str, options: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let fault = |index: usize| CollectError::form("/proc/interrupts", index, "a count per CPU");
    let mut lines = text.lines().enumerate();
    let (_, head) = lines.next().ok_or_else(|| fault(0))?;
    let cpus = head.split_ascii_whitespace().count();
    for (index, line) in lines {
        let Some((name, rest)) = line.split_once(':') else {
            continue;
        };
        let name = name.trim_start();
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Lines without a description (ERR, MIS) are totals of all CPUs.
        let Some((counts, about)) = words.split_at_checked(cpus).filter(|(_, a)| !a.is_empty())
        else {
            continue;
        };
        let numbered = name.parse::<u32>().is_ok();
        let (info, devices) = match about {
            [info, devices @ ..] if numbered => ((*info).to_owned(), devices.join(" ")),
            about => (about.join(" "), String::new()),
        };
        if options
            .interrupts
            .ignores(&format!("{name};{info};{devices}"))
        {
            continue;
        }
        for (cpu, count) in counts.iter().enumerate() {
            let count: f64 = count.parse().map_err(|_| fault(index))?;
            if count == 0.0 && !options.interrupts_zeros {
                continue;
            }
            sheet.counter(
                "node_interrupts_total",
                "Interrupt details.",
                &[
                    ("cpu", &cpu.to_string()),
                    ("type", name),
                    ("info", &info),
                    ("devices", &devices),
                ],
                count,
            );
        }
    }
    Ok(())
}
