//! Jobs and cron jobs.

use serde_json::Value;

use super::cron::Schedule;
use super::family::{Rule, alpha, annotations, created, labels, stable, version};
use super::object::{at, flag, items, number, seconds, text, text_if};
use super::resource::{NAMESPACE, Resource, namespaced};
use super::rows::Rows;

pub(super) const JOBS: Resource = namespaced(
    "jobs",
    ("batch", "v1", "Job"),
    &[NAMESPACE, ("job_name", "metadata.name")],
    &[
        annotations("kube_job_annotations"),
        labels("kube_job_labels"),
        stable("kube_job_info", "A job.", Rule::One),
        created("kube_job_created"),
        stable(
            "kube_job_spec_parallelism",
            "Pods of a job that may run at one time.",
            Rule::NumberIf("spec.parallelism"),
        ),
        stable(
            "kube_job_spec_completions",
            "Pods of a job that have to succeed.",
            Rule::NumberIf("spec.completions"),
        ),
        stable(
            "kube_job_spec_active_deadline_seconds",
            "How long a job may be active, in seconds.",
            Rule::NumberIf("spec.activeDeadlineSeconds"),
        ),
        stable(
            "kube_job_status_succeeded",
            "Pods of a job that succeeded.",
            Rule::Number("status.succeeded"),
        ),
        stable(
            "kube_job_status_failed",
            "Pods of a job that failed, and why the job did.",
            Rule::Of(failed),
        ),
        stable(
            "kube_job_status_active",
            "Pods of a job that run.",
            Rule::Number("status.active"),
        ),
        alpha(
            "kube_job_status_ready",
            "Pods of a job that are ready.",
            Rule::Number("status.ready"),
        ),
        stable(
            "kube_job_complete",
            "Whether a job is complete.",
            Rule::Condition("Complete"),
        ),
        stable(
            "kube_job_failed",
            "Whether a job failed.",
            Rule::Condition("Failed"),
        ),
        stable(
            "kube_job_status_start_time",
            "When a job was taken up, in seconds since 1970.",
            Rule::Time("status.startTime"),
        ),
        stable(
            "kube_job_status_completion_time",
            "When a job was completed, in seconds since 1970.",
            Rule::Time("status.completionTime"),
        ),
        alpha(
            "kube_job_status_suspended",
            "Whether a job is suspended.",
            Rule::Of(|object, rows| {
                for condition in items(object, "status.conditions") {
                    if text(condition, "type") == "Suspended" {
                        rows.put(&[], f64::from(text(condition, "status") == "True"));
                    }
                }
            }),
        ),
        stable("kube_job_owner", "Owners of a job.", Rule::Owners),
    ],
);

const FAILURES: [&str; 3] = ["BackoffLimitExceeded", "DeadlineExceeded", "Evicted"];

fn failed(object: &Value, rows: &mut Rows) {
    let failed = number(object, "status.failed").unwrap_or(0.0);
    if failed == 0.0 {
        rows.put(&[], 0.0);
        return;
    }
    let mut known = false;
    for condition in items(object, "status.conditions") {
        if text(condition, "type") != "Failed" {
            continue;
        }
        for reason in FAILURES {
            let is = text(condition, "reason") == reason;
            known |= is;
            rows.put(&[("reason", reason)], f64::from(is));
        }
    }
    if !known {
        rows.put(&[("reason", "")], failed);
    }
}

pub(super) const CRON_JOBS: Resource = namespaced(
    "cronjobs",
    ("batch", "v1", "CronJob"),
    &[NAMESPACE, ("cronjob", "metadata.name")],
    &[
        annotations("kube_cronjob_annotations"),
        labels("kube_cronjob_labels"),
        stable(
            "kube_cronjob_info",
            "A cron job, its schedule and its policy.",
            Rule::Of(cron_info),
        ),
        created("kube_cronjob_created"),
        stable(
            "kube_cronjob_status_active",
            "Jobs of a cron job that run.",
            Rule::Count("status.active"),
        ),
        stable(
            "kube_cronjob_status_last_schedule_time",
            "When a job was last started, in seconds since 1970.",
            Rule::Time("status.lastScheduleTime"),
        ),
        stable(
            "kube_cronjob_status_last_successful_time",
            "When a job last succeeded, in seconds since 1970.",
            Rule::Time("status.lastSuccessfulTime"),
        ),
        stable(
            "kube_cronjob_spec_suspend",
            "Whether a cron job is suspended.",
            Rule::Flag("spec.suspend"),
        ),
        stable(
            "kube_cronjob_spec_starting_deadline_seconds",
            "How late a job may start, in seconds.",
            Rule::NumberIf("spec.startingDeadlineSeconds"),
        ),
        stable(
            "kube_cronjob_next_schedule_time",
            "When the next job is due, in seconds since 1970; late where it is in the past.",
            Rule::Of(next_schedule),
        ),
        alpha(
            "kube_cronjob_schedule_invalid",
            "A cron job whose schedule or time zone cannot be read.",
            Rule::Of(|object, rows| {
                if schedule(object).is_none() {
                    rows.put(&[], 1.0);
                }
            }),
        ),
        version("kube_cronjob_metadata_resource_version").promised(),
        alpha(
            "kube_cronjob_spec_successful_job_history_limit",
            "Succeeded jobs of a cron job that are kept.",
            Rule::NumberIf("spec.successfulJobsHistoryLimit"),
        ),
        alpha(
            "kube_cronjob_spec_failed_job_history_limit",
            "Failed jobs of a cron job that are kept.",
            Rule::NumberIf("spec.failedJobsHistoryLimit"),
        ),
    ],
);

fn cron_info(object: &Value, rows: &mut Rows) {
    let spec = at(object, "spec");
    let labels = [
        ("schedule", text(spec, "schedule")),
        ("concurrency_policy", text(spec, "concurrencyPolicy")),
        ("timezone", text_if(spec, "timeZone").unwrap_or("local")),
    ];
    rows.put(&labels, 1.0);
}

fn schedule(object: &Value) -> Option<Schedule> {
    let spec = at(object, "spec");
    Schedule::parse(text(spec, "schedule"), text_if(spec, "timeZone"))
}

fn next_schedule(object: &Value, rows: &mut Rows) {
    if flag(object, "spec.suspend") {
        return;
    }
    let last = seconds(object, "status.lastScheduleTime");
    let Some(from) = last.or_else(|| seconds(object, "metadata.creationTimestamp")) else {
        return;
    };
    if let Some(next) = schedule(object).and_then(|schedule| schedule.next(from as i64)) {
        rows.put(&[], next as f64);
    }
}
