"""The line that tells how far a long run is."""

from vla_cli.progress import duration, ProgressLine


class Stream:
    def __init__(self, terminal):
        self.text, self.isatty = '', lambda: terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_progress_is_drawn_on_a_terminal_and_told_in_lines_elsewhere():
    now = [0.0]
    for terminal in (True, False):
        now[0], stream = 0.0, Stream(terminal)
        line = ProgressLine('sets', stream, lambda: now[0])
        for second in range(1, 101):
            now[0] = float(second)
            line.update(2 * second, 400)
        line.end()
        assert ('\r' in stream.text) == terminal
        assert '2.0/s' in stream.text and 'left' in stream.text
        assert stream.text.count('\n') == (0 if terminal else 6)
    assert duration(3 * 3600 + 65) == '3 h 01 min'
