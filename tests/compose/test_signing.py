"""Signing processes: signatures are right, a process that dies loses nobody's job, keys are forgotten, everything ends."""

import asyncio
import hashlib
import os
import resource
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import psutil
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from gateway.compose.dkim import Key, private_pem
from gateway.compose.signing import PATIENCE, Signer, SigningFailed
from gateway.compose.signing_process import ANSWER, FORGET, JOB, KEY, Frames

PRIVATE = rsa.generate_private_key(65537, 2048)
SIGNING_KEY = Key("example.org", "s1", PRIVATE)


def digest(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def verify(signature: bytes, number: int, private: rsa.RSAPrivateKey = PRIVATE) -> None:
    private.public_key().verify(signature, digest(number), padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))


def with_signer(
    scenario: Callable[[Signer], Coroutine[Any, Any, Any]], processes: int = 1, patience: float = PATIENCE
) -> tuple[Any, list[str]]:
    died: list[str] = []

    async def run() -> Any:
        signer = Signer(processes, died.append, patience)
        try:
            return await asyncio.wait_for(scenario(signer), 60)
        finally:
            signer.close()

    return asyncio.run(run()), died


@pytest.mark.parametrize("processes", [1, 2])
def test_every_job_gets_its_own_signature(processes: int) -> None:
    async def scenario(signer: Signer) -> list[bytes]:
        return await asyncio.gather(*(signer.sign(SIGNING_KEY, digest(number)) for number in range(100)))

    signatures, died = with_signer(scenario, processes)
    for number, signature in enumerate(signatures):
        verify(signature, number)
    assert died == []


def test_a_process_that_is_killed_loses_nobodys_job_and_is_replaced() -> None:
    async def scenario(signer: Signer) -> list[bytes]:
        first = await signer.sign(SIGNING_KEY, digest(0))
        jobs = [signer.sign(SIGNING_KEY, digest(number)) for number in range(1, 200)]
        os.kill(signer.processes[0], signal.SIGKILL)
        return [first, *await asyncio.gather(*jobs)]

    signatures, died = with_signer(scenario)
    for number, signature in enumerate(signatures):
        verify(signature, number)
    assert died == ["the signing process ended with status -9"]


def test_a_process_that_dies_before_its_first_answer_fails_its_jobs_and_the_next_job_gets_another() -> None:
    async def scenario(signer: Signer) -> tuple[list[Any], bytes]:
        jobs = [signer.sign(SIGNING_KEY, digest(number)) for number in range(3)]
        os.kill(signer.processes[0], signal.SIGKILL)
        failed = await asyncio.gather(*jobs, return_exceptions=True)
        return failed, await signer.sign(SIGNING_KEY, digest(9))

    (failed, signature), died = with_signer(scenario)
    assert [type(one) for one in failed] == [SigningFailed] * 3
    assert len(died) == 1
    verify(signature, 9)


def test_a_process_that_is_stopped_is_ended_and_nobodys_job_is_lost() -> None:
    async def scenario(signer: Signer) -> list[bytes]:
        first = await signer.sign(SIGNING_KEY, digest(0))
        process = psutil.Process(signer.processes[0])
        process.suspend()
        while process.status() != psutil.STATUS_STOPPED:  # a signal takes its time
            await asyncio.sleep(0)
        jobs = [signer.sign(SIGNING_KEY, digest(number)) for number in range(1, 20)]
        return [first, *await asyncio.gather(*jobs)]

    signatures, died = with_signer(scenario, patience=1.0)
    for number, signature in enumerate(signatures):
        verify(signature, number)
    assert died == ["the signing process gave no answer and was ended"]


def test_a_process_that_is_slow_and_answers_is_left_alone() -> None:
    async def scenario(signer: Signer) -> None:
        await signer.sign(SIGNING_KEY, digest(0))
        jobs = [signer.sign(SIGNING_KEY, digest(number)) for number in range(1, 7000)]
        await asyncio.gather(*jobs)

    assert with_signer(scenario, patience=1.5)[1] == []


def test_where_no_process_can_be_started_jobs_fail_and_the_next_one_tries_again() -> None:
    async def scenario(signer: Signer) -> tuple[list[Any], Any, bytes]:
        await signer.sign(SIGNING_KEY, digest(0))
        most = resource.getrlimit(resource.RLIMIT_NOFILE)
        jobs = [signer.sign(SIGNING_KEY, digest(number)) for number in range(1, 200)]
        os.kill(signer.processes[0], signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most[1]))
        try:
            failed = await asyncio.gather(*jobs, return_exceptions=True)
            refused = (await asyncio.gather(signer.sign(SIGNING_KEY, digest(8)), return_exceptions=True))[0]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, most)
        return failed, refused, await signer.sign(SIGNING_KEY, digest(9))

    (failed, refused, signature), _ = with_signer(scenario)
    assert {str(one) for one in failed if isinstance(one, SigningFailed)} == {"a signing process cannot be started: Too many open files"}
    assert isinstance(refused, SigningFailed)
    verify(signature, 9)


def test_many_deaths_leave_no_descriptor_and_no_process_behind() -> None:
    async def scenario(signer: Signer) -> tuple[int, int, int]:
        verify(await signer.sign(SIGNING_KEY, digest(0)), 0)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(8):
            job = signer.sign(SIGNING_KEY, digest(number))
            os.kill(signer.processes[0], signal.SIGKILL)
            await asyncio.gather(job, return_exceptions=True)
            verify(await signer.sign(SIGNING_KEY, digest(number)), number)
        return before, len(os.listdir("/proc/self/fd")), signer.waiting

    (before, after, waiting), died = with_signer(scenario)
    assert (after, waiting) == (before, 0)
    assert len(died) == 8


def test_a_cancelled_job_harms_nobody() -> None:
    async def scenario(signer: Signer) -> list[bytes]:
        jobs = [signer.sign(SIGNING_KEY, digest(number)) for number in range(4)]
        jobs[1].cancel()
        return list(await asyncio.gather(jobs[0], jobs[2], jobs[3]))

    signatures, _ = with_signer(scenario)
    for number, signature in zip((0, 2, 3), signatures, strict=True):
        verify(signature, number)


def test_keys_that_were_forgotten_are_sent_again_when_they_are_used() -> None:
    other = rsa.generate_private_key(65537, 1024)

    async def scenario(signer: Signer) -> list[bytes]:
        jobs = [signer.sign(SIGNING_KEY, digest(0))]
        signer.forget_keys()
        jobs.append(signer.sign(Key("example.net", "s1", other), digest(1)))
        jobs.append(signer.sign(SIGNING_KEY, digest(2)))
        return await asyncio.gather(*jobs)

    first, second, third = with_signer(scenario)[0]
    verify(first, 0)
    verify(second, 1, other)
    verify(third, 2)


def test_closing_fails_what_is_under_way_and_ends_the_processes() -> None:
    async def scenario(signer: Signer) -> list[Any]:
        await signer.sign(SIGNING_KEY, digest(0))
        process = signer.processes[0]
        job = signer.sign(SIGNING_KEY, digest(1))
        signer.close()
        ended = list(await asyncio.gather(job, signer.sign(SIGNING_KEY, digest(2)), return_exceptions=True))
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
        return ended

    ended, died = with_signer(scenario)
    assert [type(one) for one in ended] == [SigningFailed] * 2
    assert died == []


def test_one_signer_serves_one_loop_after_another() -> None:
    signer = Signer(1)

    async def sign(number: int) -> bytes:
        return await signer.sign(SIGNING_KEY, digest(number))

    for number in range(3):
        verify(asyncio.run(sign(number)), number)
    signer.close()


def test_frames_may_come_in_any_pieces_and_a_job_without_its_key_gets_an_empty_answer() -> None:
    pem = private_pem(SIGNING_KEY)
    octets = JOB.pack(b"S", 1, 7, digest(1)) + KEY.pack(b"K", 7, len(pem)) + pem + JOB.pack(b"S", 2, 7, digest(2))
    octets += FORGET + JOB.pack(b"S", 3, 7, digest(3))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames = Frames(theirs)
        for position in range(len(octets)):
            frames.take(octets[position : position + 1])
        answers = ours.recv(65_536)
    empty, made = ANSWER.pack(1, 0), ANSWER.pack(2, 256)
    assert answers.startswith(empty + made)
    verify(answers[len(empty + made) :][:256], 2)
    assert answers.endswith(ANSWER.pack(3, 0))


def test_a_frame_of_no_kind_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ValueError, match="no kind"):
        Frames(theirs).take(b"X")
