//! The door to those who send.

use obs_alerting::notify::data::Data;
use obs_alerting::notify::requests::Kept;

use super::deliver::{Refused, Tell, Telling};
use crate::notify::Senders;

impl Tell for Senders {
    fn tell<'a>(
        &'a self,
        receiver: &'a str,
        integration: usize,
        data: &'a Data<'a>,
        kept: &'a Kept,
    ) -> Telling<'a> {
        Box::pin(async move {
            let sent = self.send(receiver, integration, data, kept).await;
            sent.map_err(|error| Refused {
                retry: error.retry,
                class: error.class,
                reason: error.reason,
            })
        })
    }
}
