//! Exceptions of a Java service: a few dozen different ones, each always with the same frames.

use std::fmt::Write;

use crate::random::Random;

/// Different stacks.
const STACKS: usize = 40;

const EXCEPTIONS: &[&str] = &[
    "java.net.SocketTimeoutException: Read timed out",
    "java.sql.SQLTransientConnectionException: pool-1 - Connection is not available, request timed out after 30000ms.",
    "java.lang.NullPointerException: Cannot invoke \"com.example.orders.Item.price()\" because \"item\" is null",
    "org.springframework.dao.DataIntegrityViolationException: could not execute statement",
    "java.lang.IllegalStateException: order is already closed",
    "java.util.concurrent.CompletionException: io.netty.channel.ConnectTimeoutException: connection timed out",
    "com.fasterxml.jackson.databind.exc.MismatchedInputException: No content to map due to end-of-input",
];

const FRAMES: &[&str] = &[
    "com.example.orders.api.OrderController.submit(OrderController.java",
    "com.example.orders.domain.OrderService.place(OrderService.java",
    "com.example.orders.store.OrderRepository.save(OrderRepository.java",
    "com.example.orders.stock.StockClient.reserve(StockClient.java",
    "com.example.orders.pay.PaymentGateway.charge(PaymentGateway.java",
    "org.springframework.aop.framework.CglibAopProxy$DynamicAdvisedInterceptor.intercept(CglibAopProxy.java",
    "org.springframework.transaction.interceptor.TransactionInterceptor.invoke(TransactionInterceptor.java",
    "org.springframework.web.servlet.FrameworkServlet.service(FrameworkServlet.java",
    "org.springframework.web.servlet.DispatcherServlet.doDispatch(DispatcherServlet.java",
    "org.apache.catalina.core.ApplicationFilterChain.internalDoFilter(ApplicationFilterChain.java",
    "org.apache.catalina.core.StandardWrapperValve.invoke(StandardWrapperValve.java",
    "org.apache.tomcat.util.net.SocketProcessorBase.run(SocketProcessorBase.java",
    "org.hibernate.internal.SessionImpl.fireFlush(SessionImpl.java",
    "com.zaxxer.hikari.pool.HikariPool.getConnection(HikariPool.java",
    "java.base/java.util.concurrent.ThreadPoolExecutor.runWorker(ThreadPoolExecutor.java",
    "java.base/java.lang.reflect.Method.invoke(Method.java",
    "java.base/java.lang.Thread.run(Thread.java",
];

/// Writes one of the stacks, the first ones more often.
pub(super) fn write(random: &mut Random, out: &mut String) -> std::fmt::Result {
    let mut own = Random::of(40, random.zipf(STACKS) as u64);
    out.push_str(EXCEPTIONS[own.below(EXCEPTIONS.len() as u64) as usize]);
    frames(&mut own, out)?;
    if own.chance(0.4) {
        let cause = EXCEPTIONS[own.below(EXCEPTIONS.len() as u64) as usize];
        write!(out, "\nCaused by: {cause}")?;
        frames(&mut own, out)?;
        write!(out, "\n\t... {} common frames omitted", 8 + own.below(60))?;
    }
    Ok(())
}

fn frames(own: &mut Random, out: &mut String) -> std::fmt::Result {
    for _ in 0..6 + own.below(22) {
        let frame = FRAMES[own.below(FRAMES.len() as u64) as usize];
        write!(out, "\n\tat {frame}:{})", 20 + own.below(900))?;
    }
    Ok(())
}
