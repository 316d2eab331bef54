"""Networks: nn.Module and what is known of them. Needs torch and numpy alone."""
