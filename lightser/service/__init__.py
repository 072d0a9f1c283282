"""The recogniser over HTTP and WebSocket, safe to show to strangers' files.

Bodies are decoded in processes that may take only so much memory and time; answers come from the
same :class:`~lightser.Recognizer` as everywhere else. Nothing is stored.
"""
