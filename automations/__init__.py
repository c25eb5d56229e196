"""What this installation declares: pipelines, and what they look up and try out.

To add a pipeline:

1. write a file in `pipelines/` that declares it (`flights.py` is a model);
2. add it to the tuple in `pipelines/__init__.py`;
3. run `headgate apply`: its deployment and its automation appear in the Prefect UI;
4. drop a file into its folder below the inbox.

`rules.py` lists automations beside the pipelines' own, and deployments of the flows in `flows/`.
"""
