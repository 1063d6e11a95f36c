"""Records, masks and curves in a dataset repository of the Hugging Face Hub, and back. No torch.

`push` and `pull` are all that others need. `Remote` is the only thing that talks to the Hub, through the official
client: its tokens (`hf auth login`, HF_TOKEN), its cache, HF_ENDPOINT and HF_HUB_OFFLINE.
"""
