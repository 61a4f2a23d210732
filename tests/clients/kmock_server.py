"""An API server by kmock: prints its port, then adds and removes a pod for every line it is sent."""

import asyncio
import sys

import kmock

PODS = kmock.resource("v1/pods")


def pod(name):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "uid": "uid-" + name},
        "status": {"podIP": "10.0.0.1"},
    }


async def main():
    async with kmock.KubernetesEmulator() as handler, kmock.Server(handler) as server:
        handler.resources[PODS] = kmock.ResourceInfo(kind="Pod", namespaced=True, verbs={"get", "list", "watch"})
        handler.objects[PODS, "shop", "first"] = pod("first")
        print(server.port, flush=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, sys.stdin.readline)
        async with server.client.post("/api/v1/namespaces/shop/pods", json=pod("second")) as answer:
            answer.raise_for_status()
        await loop.run_in_executor(None, sys.stdin.readline)
        async with server.client.delete("/api/v1/namespaces/shop/pods/first") as answer:
            answer.raise_for_status()
        await loop.run_in_executor(None, sys.stdin.readline)


asyncio.run(main())
