"""The Meca500's text protocol: golden lines and arbitrary bytes."""

from hypothesis import given
from hypothesis import strategies as st
from mecademicpy.mx_robot_def import MxRobotStatusCode
from mecademicpy.robot_classes import Message
import pytest

from vla_sim.meca.codes import Code
from vla_sim.meca.protocol import (
    Command,
    LineReader,
    LONGEST_COMMAND,
    message,
    numbers,
    parse_command,
    SyntaxProblem,
)  # fmt: skip


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        ('Home', Command('Home')),
        ('Home()', Command('Home')),
        ('-GetRobotSerial', Command('GetRobotSerial')),
        ('MoveJoints(1,-2.5, 0)', Command('MoveJoints', ('1', '-2.5', '0'))),
        (' SetVelTimeout ( 0.1 ) ', Command('SetVelTimeout', ('0.1',))),
        ('SyncCmdQueue(7)', Command('SyncCmdQueue', ('7',))),
    ],
)  # fmt: skip
def test_commands_as_the_vendor_library_writes_them_are_read(line, expected):
    assert parse_command(line) == expected


@pytest.mark.parametrize(
    'line', ['MoveJoints(1,2', 'MoveJoints 1,2', '(1)', '[2000][x]', 'a(b(c))']
)
def test_a_line_that_is_no_command_is_a_syntax_problem(line):
    with pytest.raises(SyntaxProblem):
        parse_command(line)


@pytest.mark.parametrize('value', ['nan', 'inf', '-inf', '1e999', 'x', ''])
def test_numbers_must_be_finite(value):
    with pytest.raises(ValueError):
        Command('SetJointVel', (value,)).numbers()


def test_messages_have_the_golden_form():
    assert message(Code.ACTIVATED, 'Motors activated.') == b'[2000][Motors activated.]\0'
    assert message(Code.GET_JOINTS, numbers([1.0, -0.5])) == b'[2026][1.0000,-0.5000]\0'


@given(st.sampled_from(list(Code)), st.text('abc 0123456789.,-', max_size=40))
def test_the_vendor_library_reads_every_message(code, text):
    read = Message.from_string(message(code, text).decode()[:-1])
    assert (read.id, read.data) == (code, text)


def test_codes_are_the_vendors():
    assert {code.name: code.value for code in Code} == {
        code.name: MxRobotStatusCode['MX_ST_' + code.name].value for code in Code
    }


@given(st.lists(st.text('abcXYZ(,)0-', min_size=1, max_size=30)), st.data())
def test_lines_come_out_whole_however_the_stream_is_cut(lines, data):
    stream = b''.join(
        line.encode() + data.draw(st.sampled_from([b'\0', b'\n', b'\r\n'])) for line in lines
    )
    reader, got = LineReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += reader.feed(stream[:size])
        stream = stream[size:]
    assert got == lines


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_no_bytes_break_the_reader_or_the_parser(chunks):
    reader = LineReader()
    for chunk in chunks:
        for line in reader.feed(chunk):
            try:
                parse_command(line)
            except SyntaxProblem:
                pass


def test_an_oversized_line_is_reported_once_and_the_next_one_is_read():
    reader = LineReader()
    lines = [line for _ in range(5) for line in reader.feed(b'x' * LONGEST_COMMAND)]
    lines += reader.feed(b'y\0Home\0')
    assert lines == [None, 'Home']
