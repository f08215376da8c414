# SPDX-License-Identifier: MIT
"""An asyncio server goes on answering requests while a pool computes for it.

    python examples/python/08_asyncio_server.py [fork|spawn|forkserver]

The server listens on the loopback interface. One client asks it for a long computation; until the
answer is there, a second client asks small questions and counts the answers.
"""

import asyncio
import functools
import sys

import ramet as mp

LIMIT = 200_000


def count_primes(first, last):
    return sum(
        all(number % divisor for divisor in range(2, int(number**0.5) + 1))
        for number in range(max(first, 2), last)
    )


async def in_pool(pool, function, arguments):
    """Await pool.starmap(). The pool calls back from a thread of its own, never from the loop."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    pool.starmap_async(
        function,
        arguments,
        callback=functools.partial(loop.call_soon_threadsafe, future.set_result),
        error_callback=functools.partial(loop.call_soon_threadsafe, future.set_exception),
    )
    return await future


async def serve(pool, reader, writer):
    """Answer the lines of one client until it closes the connection."""
    while line := await reader.readline():
        match line.decode().split():
            case ["ping"]:
                answer = "pong"
            case ["primes", limit]:
                step = int(limit) // 8
                parts = [(first, first + step) for first in range(0, int(limit), step)]
                answer = sum(await in_pool(pool, count_primes, parts))
            case _:
                answer = "what?"
        writer.write(f"{answer}\n".encode())
        await writer.drain()
    writer.close()


async def ask(connection, question):
    reader, writer = connection
    writer.write(f"{question}\n".encode())
    return (await reader.readline()).decode().strip()


async def main():
    with mp.Pool(2) as pool:
        server = await asyncio.start_server(functools.partial(serve, pool), "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        patient = await asyncio.open_connection(host, port)
        curious = await asyncio.open_connection(host, port)

        computation = asyncio.create_task(ask(patient, f"primes {LIMIT}"))
        answered = 0
        while not computation.done():
            if await ask(curious, "ping") == "pong":
                answered += 1

        print(f"there are {await computation} primes below {LIMIT}")
        print(f"{answered} requests were answered during the computation")
        for _, writer in (patient, curious):
            writer.close()
            await writer.wait_closed()
        server.close()
        await server.wait_closed()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        mp.set_start_method(sys.argv[1])
    asyncio.run(main())
